"""What is changed in a build, one thing at a time, for `test_key_mutations.py`; `test_key_fields.py` asks if it is all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from trimaran.platforms import Platform

DOCKERFILE = """\
FROM alpine AS tools
RUN make tool
FROM alpine
ARG VERSION=1
ENV MODE=fast
WORKDIR /w
COPY src /app/
COPY --from=tools /made /t/
RUN make all
"""
COPY, TOOL, FROM_TOOLS, MAKE = "COPY src /app/", "RUN make tool", "COPY --from=tools /made /t/", "RUN make all"
BIND = "RUN --mount=type=bind,source=src,target=/m make all"
SECRET = "RUN --mount=type=secret,id=s make all"


class Case(msgspec.Struct, kw_only=True):
    """One build: its text, what is done to the context, options, and what the client gives."""

    text: str = DOCKERFILE
    files: Callable[[Path], object] | None = None
    options: dict[str, object] = {}
    secrets: dict[str, str] = {}
    hashed: frozenset[str] = frozenset()
    mode: str = "exact"


def edit(old: str, new: str, text: str = DOCKERFILE, **more) -> Case:
    assert old in text
    return Case(text=text.replace(old, new), **more)


def write(path: str, data: str) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_text(data)


def mode(path: str, bits: int) -> Callable[[Path], object]:
    return lambda folder: (folder / path).chmod(bits)


def replaced(path: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / path).unlink()
        make(folder / path)

    return change


def times(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (1, 1), follow_symlinks=False)


def in_another_order(folder: Path) -> None:
    """Other inodes, and another order on disk."""
    for path in sorted((path for path in (folder / "src").rglob("*") if path.is_file()), reverse=True):
        if path.stat().st_nlink == 1 and not path.is_symlink():
            data, bits = path.read_bytes(), path.stat().st_mode
            path.unlink()
            path.write_bytes(data)
            path.chmod(bits)


def socket_in(folder: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "src/socket"))


def rewritten(folder: Path) -> None:
    (folder / "src/a").unlink()
    (folder / "src/a").write_text("a")


CHANGES = {
    # files of a copied folder
    "content": (Case(files=write("src/sub/b", "B")), COPY),
    "content of the same length": (Case(files=write("src/a", "x")), COPY),
    "a new file": (Case(files=write("src/new", "")), COPY),
    "a file less": (Case(files=lambda folder: (folder / "src/a").unlink()), COPY),
    "a file's name": (Case(files=lambda folder: (folder / "src/a").rename(folder / "src/A")), COPY),
    "a file in another folder": (Case(files=lambda folder: (folder / "src/a").rename(folder / "src/sub/a")), COPY),
    "an empty folder": (Case(files=lambda folder: (folder / "src/empty2").mkdir()), COPY),
    "a file's mode": (Case(files=mode("src/a", 0o600)), COPY),
    "the executable bit": (Case(files=mode("src/a", 0o755)), COPY),
    "the setuid bit": (Case(files=mode("src/tool", 0o4755)), COPY),
    "the sticky bit of a folder": (Case(files=mode("src/sub", 0o1755)), COPY),
    "a folder's mode": (Case(files=mode("src/sub", 0o700)), COPY),
    "a link's target": (Case(files=replaced("src/link", lambda p: p.symlink_to("c"))), COPY),
    "a link that became a file": (Case(files=replaced("src/link", lambda p: p.write_text("a"))), COPY),
    "a file that became a folder": (Case(files=replaced("src/a", lambda p: p.mkdir())), COPY),
    "a file that became a FIFO": (Case(files=replaced("src/a", os.mkfifo)), COPY),
    "a hard link that became a file": (Case(files=replaced("src/hard", lambda p: p.write_text("a"))), COPY),
    # instructions
    "the base": (edit("FROM alpine\n", "FROM debian\n"), "WORKDIR /w"),
    "the base of another stage": (edit("FROM alpine AS", "FROM debian AS"), TOOL),
    "the platform of another stage": (edit("FROM alpine AS", "FROM --platform=linux/arm64 alpine AS"), TOOL),
    "RUN": (edit("make all", "make all -j"), "RUN make all -j"),
    "RUN of another stage": (edit("make tool", "make tools"), "RUN make tools"),
    "RUN in exec form": (edit("RUN make all", 'RUN ["make", "all"]'), 'RUN ["make", "all"]'),
    "SHELL": (edit("RUN make all", 'SHELL ["/bin/bash", "-c"]\nRUN make all'), MAKE),
    "USER": (edit("RUN make all", "USER user\nRUN make all"), MAKE),
    "WORKDIR": (edit("WORKDIR /w", "WORKDIR /v"), "WORKDIR /v"),
    "ENV": (edit("MODE=fast", "MODE=slow"), MAKE),
    "a new ENV": (edit("ENV MODE=fast", "ENV MODE=fast MORE=1"), MAKE),
    "an ENV less": (edit("ENV MODE=fast\n", ""), MAKE),
    "ARG": (edit("VERSION=1", "VERSION=2"), MAKE),
    "ARG before RUN of its stage alone": (edit("RUN make tool", "ARG X=1\nRUN make tool"), TOOL),
    "COPY: destination": (edit("src /app/", "src /opt/"), "COPY src /opt/"),
    "COPY: source": (edit("COPY src /app/", "COPY other /app/"), "COPY other /app/"),
    "COPY: a single file": (edit("COPY src /app/", "COPY src/a /app/"), "COPY src/a /app/"),
    "COPY: two sources": (edit("COPY src /app/", "COPY src other /app/"), "COPY src other /app/"),
    "COPY --chown": (edit("COPY src", "COPY --chown=5 src"), "COPY --chown=5 src /app/"),
    "COPY --chown with a group": (edit("COPY src", "COPY --chown=0:5 src"), "COPY --chown=0:5 src /app/"),
    "COPY --chown by name": (edit("COPY src", "COPY --chown=user src"), "COPY --chown=user src /app/"),
    "COPY --chmod": (edit("COPY src", "COPY --chmod=700 src"), "COPY --chmod=700 src /app/"),
    "COPY --exclude": (edit("COPY src", "COPY --exclude=a src"), "COPY --exclude=a src /app/"),
    "COPY --parents": (edit("COPY src", "COPY --parents src"), "COPY --parents src /app/"),
    "COPY --link": (edit("COPY src", "COPY --link src"), "COPY --link src /app/"),
    "ADD instead of COPY": (edit("COPY src", "ADD src"), "ADD src /app/"),
    "ADD --unpack": (edit("COPY src", "ADD --unpack=false src"), None),
    "COPY --from another path": (edit("/made /t/", "/etc/passwd /t/"), "COPY --from=tools /etc/passwd /t/"),
    "COPY of a heredoc": (edit(COPY, "COPY <<x /app/x\none\nx"), "COPY <<x /app/x"),
    ".dockerignore": (Case(files=lambda f: None, options={"ignore": "src/a\n"}), COPY),
    # flags of RUN
    "RUN --network": (edit("RUN make all", "RUN --network=none make all"), "RUN --network=none make all"),
    "RUN --security": (edit("RUN make all", "RUN --security=insecure make all"), "RUN --security=insecure make all"),
    "a bind mount": (edit("RUN make all", BIND), BIND),
    "a tmpfs": (edit("make all", "--mount=type=tmpfs,target=/m make all"), "RUN --mount=type=tmpfs,target=/m make all"),
    "a cache mount": (
        edit("make all", "--mount=type=cache,target=/m make all"),
        "RUN --mount=type=cache,target=/m make all",
    ),
    "a secret mount": (edit("RUN make all", SECRET, secrets={"s": "1"}), SECRET),
    "an agent": (edit("make all", "--mount=type=ssh make all"), "RUN --mount=type=ssh make all"),
    # options
    "--build-arg": (Case(options={"build_args": (("VERSION", "2"),)}), MAKE),
    "--ulimit": (Case(options={"ulimits": (("nofile", 9, 9),)}), TOOL),
    "--shm-size": (Case(options={"shm_size": 1 << 20}), TOOL),
    "--network": (Case(options={"network": "none"}), TOOL),
    "--add-host": (Case(options={"extra_hosts": (("h", "1.2.3.4"),)}), TOOL),
    "--cgroup-parent": (Case(options={"cgroup_parent": "x"}), TOOL),
    "the sandbox's hostname": (Case(options={"hostname": "h"}), TOOL),
    "--platform": (Case(options={"platforms": (Platform("linux", "arm64"),)}), "WORKDIR /w"),
}
SAME = {
    "times": Case(files=times),
    "a file written anew": Case(files=rewritten),
    "all files written in another order": Case(files=in_another_order),
    "a socket, which no image has": Case(files=socket_in),
    "a link to a copied file from elsewhere": Case(files=lambda f: (f / "other/g").hardlink_to(f / "src/a")),
    "a file that is not copied": Case(files=write("other/f", "F")),
    "a new file that is not copied": Case(files=write("new", "")),
    "a mode that is not copied": Case(files=mode("other/f", 0o600)),
    "the mode of the copied folder itself, of which the content is copied": Case(files=mode("src", 0o700)),
    "the folder's name": Case(
        text=DOCKERFILE.replace("COPY src", "COPY moved"),
        files=lambda folder: (folder / "src").rename(folder / "moved"),
    ),
    "comments and spaces": edit("RUN make all", "# all\nRUN   make all"),
    "lower case": edit("RUN make all", "run make all"),
    "lines that go on": edit("RUN make all", "RUN \\\n  make all"),
    "ends of lines": Case(text=DOCKERFILE.replace("\n", "\r\n")),
    "another way to write ENV": edit("ENV MODE=fast", 'ENV MODE="fast"'),
    "another way to write a path": edit("COPY src /app/", "COPY ./src/ /app/"),
    "an ARG with the value it has": edit("RUN make all", "RUN make all", options={"build_args": (("VERSION", "1"),)}),
    "stage names": edit("tools", "instruments"),
    "LABEL": edit("WORKDIR", "LABEL a=b\nWORKDIR"),
    "CMD": Case(text=DOCKERFILE + "CMD x\n"),
    "settings of the image": edit(
        "WORKDIR",
        "EXPOSE 80\nVOLUME /v\nSTOPSIGNAL 9\nENTRYPOINT x\nHEALTHCHECK NONE\nMAINTAINER m\nONBUILD RUN x\nWORKDIR",
    ),
    "an ARG after the last RUN": Case(text=DOCKERFILE + "ARG LATER=1\n"),
    "a stage that nobody needs": Case(text="FROM alpine AS unused\nRUN no\n" + DOCKERFILE),
    "a proxy": Case(options={"build_args": (("HTTP_PROXY", "http://p"), ("no_proxy", "x"))}),
    "a build argument nobody declares": Case(options={"build_args": (("NOBODY", "2"),)}),
    "--label": Case(options={"labels": (("a", "b"),)}),
    "--no-cache": Case(options={"no_cache": True}),
    "--pull": Case(options={"resolve_mode": "pull"}),
    ".dockerignore of what is not copied": Case(options={"ignore": "other\n"}),
}


VARIANTS = {
    "where a bind is mounted": (BIND, BIND.replace("/m", "/n"), True),
    "what a bind is of": (BIND.replace("source=src", "from=tools"), BIND.replace("source=src", "from=debian"), True),
    "what a bind shows": (BIND, BIND.replace("source=src", "source=other"), True),
    "a bind that may be written": (BIND, BIND.replace("target", "rw,target"), True),
    "the id of a secret": (SECRET, SECRET.replace("id=s", "id=t"), True),
    "where a secret is": (SECRET, SECRET.replace("id=s", "id=s,target=/x"), True),
    "the mode of a secret": (SECRET, SECRET.replace("id=s", "id=s,mode=0444"), True),
    "the owner of a secret": (SECRET, SECRET.replace("id=s", "id=s,uid=5"), True),
    "a secret that must be there": (SECRET, SECRET.replace("id=s", "id=s,required=true"), True),
    "a secret as a variable": (SECRET, SECRET.replace("id=s", "id=s,env=S"), True),
    "where a cache is": ("RUN --mount=type=cache,target=/m x", "RUN --mount=type=cache,target=/n x", True),
    "how a cache is shared": (
        "RUN --mount=type=cache,id=c,target=/m x",
        "RUN --mount=type=cache,id=c,sharing=locked,target=/m x",
        False,
    ),
    "the id of a cache": (
        "RUN --mount=type=cache,id=c,target=/m x",
        "RUN --mount=type=cache,id=d,target=/m x",
        False,
    ),
    "the size of a tmpfs": ("RUN --mount=type=tmpfs,target=/m x", "RUN --mount=type=tmpfs,size=9,target=/m x", True),
    "two binds that change places": (
        "RUN --mount=type=bind,source=src,target=/m --mount=type=bind,source=other,target=/n x",
        "RUN --mount=type=bind,source=other,target=/m --mount=type=bind,source=src,target=/n x",
        True,
    ),
    "two sources that change places": ("COPY src/a src/sub/b /x/", "COPY src/sub/b src/a /x/", True),
    "the name of a copied file": ("COPY src/a /x/", "COPY src/c /x/", True),
    "a wildcard that finds the same": ("COPY src/s*/ /x/", "COPY src/su*/ /x/", False),
}


BOUND = {
    "content": (write("src/a", "x"), True),
    "mode": (mode("src/a", 0o600), True),
    "the mode of the folder itself": (mode("src", 0o700), True),
    "times": (times, False),
    "what is not shown": (write("other/f", "x"), False),
}


GIT = {
    "a mode without meaning to git": (mode("src/a", 0o600), True),
    "a group that may write": (mode("src/sub", 0o2775), True),
    "an executable only its owner may run": (mode("src/tool", 0o700), True),
    "the executable bit": (mode("src/a", 0o755), False),
    "content": (write("src/a", "x"), False),
}
