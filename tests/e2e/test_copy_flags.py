"""COPY and ADD of local files with every flag, one build for all; what comes out is what BuildKit makes of it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile

import pytest
import zstandard
from stage import reading

DOCKERFILE = """FROM alpine AS users
RUN echo bob:x:1001:1002::/:/bin/sh >> /etc/passwd && echo crew:x:1003: >> /etc/group && mkdir -p /r/empty && chmod 711 /r
FROM users
COPY --parents app/./a/**/*.txt app/docs /t/parents/
COPY --parents --exclude=**/b app/a /t/parents2/
COPY --exclude=modules --exclude=*.md --exclude=docs app /t/excluded/
COPY --exclude=** --exclude=!main.go app /t/only/
COPY --chmod=u=rwX,go=rX app/run.sh app/main.go /t/symbolic/
COPY --chmod=a-x,g+w app/run.sh app/main.go /t/symbolic2/
COPY --chmod=+t,u+s app/run.sh /t/special/
COPY --chmod=0751 app/a /t/octal/
COPY --chown=bob:crew app/a /t/named/
COPY --chown=bob app/main.go /t/bob/
COPY --chown=:crew app/main.go /t/crew/
COPY --chown=1234 app/main.go /t/number/
COPY --link --chown=5:6 --chmod=600 app/main.go /t/linked/deep/main.go
COPY app/m?in.go app/[rx]un.sh app/link /t/globs/
ADD --chown=9:10 arch/a.tar /t/own/
ADD --unpack=false arch/a.tar.gz /t/packed/
ADD arch/plain.gz /t/plain/
COPY --from=users /r /t/r
COPY <<one <<"two" /t/here/
a $PATH
one
b $PATH
two
"""
ARCHIVES = ("tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst")

EXPECTED = """
parents/a/one.txt 644 0 0 1 | parents/a/b/two.txt 644 0 0 2 | parents/app/docs/read.md 644 0 0 md
parents2/app/a/one.txt 644 0 0 1
excluded/a/one.txt 644 0 0 1 | excluded/a/b/two.txt 644 0 0 2 | excluded/main.go 644 0 0 main
excluded/run.sh 755 0 0 run | excluded/link link a/one.txt
only/main.go 644 0 0 main
symbolic/run.sh 755 0 0 run | symbolic/main.go 644 0 0 main
symbolic2/run.sh 664 0 0 run | symbolic2/main.go 664 0 0 main
special/run.sh 5755 0 0 run
octal/one.txt 751 0 0 1 | octal/b/two.txt 751 0 0 2
named/one.txt 644 1001 1003 1 | named/b/two.txt 644 1001 1003 2
bob/main.go 644 1001 1002 main
crew/main.go 644 0 1003 main
number/main.go 644 1234 1234 main
linked/deep/main.go 600 5 6 main
globs/main.go 644 0 0 main | globs/run.sh 755 0 0 run | globs/link 644 0 0 1
own/inner/f 640 9 10 x
packed/a.tar.gz 644 0 0 *
plain/plain.gz 644 0 0 *
here/one 644 0 0 a /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin | here/two 644 0 0 b $PATH
""" + "".join(f"{kind}/inner/f 640 7 8 x\n" for kind in ARCHIVES)
FOLDERS = {"linked": (0o600, 5, 6), "linked/deep": (0o600, 5, 6), "named/b": (0o755, 1001, 1003), "r": (0o755, 0, 0),
           "r/empty": (0o755, 0, 0), "tar/inner": (0o750, 0, 0), "octal/b": (0o751, 0, 0), "special": (0o755, 0, 0)}  # fmt: skip


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, fields in (("inner", {"type": tarfile.DIRTYPE, "mode": 0o750}), ("inner/f", {"uid": 7, "gid": 8})):
            member = tarfile.TarInfo(name)
            member.mode = 0o640
            for field, value in fields.items():
                setattr(member, field, value)
            member.size = 2 if name.endswith("f") else 0
            tar.addfile(member, io.BytesIO(b"x\n"))
    return buffer.getvalue()


@pytest.fixture
def app(context):
    for path, text in (("a/one.txt", "1"), ("a/b/two.txt", "2"), ("docs/read.md", "md"), ("modules/x/i.js", "i")):
        context.write(f"app/{path}", text + "\n")
    context.write("app/main.go", "main\n")
    context.write("app/run.sh", "run\n").chmod(0o755)
    (context / "app/link").symlink_to("a/one.txt")
    data = archive()
    packers = (bytes, lambda d: gzip.compress(d, mtime=0), bz2.compress, lzma.compress, zstandard.compress)
    for kind, pack in zip(ARCHIVES, packers, strict=True):
        context.write(f"arch/a.{kind}", pack(data))
    context.write("arch/plain.gz", gzip.compress(b"no archive\n", mtime=0))
    return context


def described(member: tarfile.TarInfo, tar: tarfile.TarFile) -> str:
    name = member.name.split("t/", 1)[1]
    if member.issym():
        return f"{name} link {member.linkname}"
    data = tar.extractfile(member).read()
    text = "*" if data.startswith(b"\x1f\x8b") else data.decode().rstrip("\n")
    return f"{name} {member.mode:o} {member.uid} {member.gid} {text}"


def test_every_flag_of_copy_and_add(either, bases, app):
    adds = "".join(f"ADD arch/a.{kind} /t/{kind}/\n" for kind in ARCHIVES)
    app.dockerfile(DOCKERFILE + adds)
    either("build", "-o", f"type=tar,dest={either.home}/out.tar", app)
    with tarfile.open(either.home / "out.tar") as tar:
        members = [member for member in tar if member.name.lstrip("./").startswith("t/")]
        found = {described(member, tar) for member in members if not member.isdir()}
        folders = {m.name.split("t/", 1)[1].rstrip("/"): (m.mode, m.uid, m.gid) for m in members if m.isdir()}
    assert found == {part.strip() for line in EXPECTED.strip().splitlines() for part in line.split("|")}
    assert {name: folders[name] for name in FOLDERS} == FOLDERS


def test_a_linked_copy_is_put_on_another_base_with_nothing_run(either, bases, app):
    """The layer is the same, byte for byte; what stands below decides where it is put, and a link of it is replaced."""
    app.dockerfile(
        "ARG BASE=one\nFROM alpine AS one\nRUN echo 1 > /one && mkdir /real && ln -s /real /t\n"
        "FROM alpine AS two\nRUN echo 2 > /two && mkdir /t && echo kept > /t/kept\n"
        "FROM $BASE\nCOPY --link app/a /t/\nCOPY --link --from=alpine /etc/passwd /t/\nCMD cat /t/one.txt /t/passwd /t/kept\n"
    )
    tops, said = [], []
    for base in ("one", "two"):
        done = either("build", "--progress=plain", "--build-arg", f"BASE={base}", "-t", base, "-o",
                      f"type=oci,dest={either.home}/{base}.tar", "-o", "type=image", app)  # fmt: skip
        said.append(done.stderr)
        manifest = json.loads(reading.skopeo("inspect", "--raw", f"oci-archive:{either.home}/{base}.tar"))
        tops.append([layer["digest"] for layer in manifest["layers"]][-2:])
    assert tops[0] == tops[1]
    steps = [line for line in said[1].splitlines() if "LINK COPY" not in line and "] COPY --link" in line]
    numbers = {line.split()[0] for line in steps}
    assert len(numbers) == 2
    assert all(f"{number} CACHED" in said[1] for number in numbers), said[1]
    assert "kept" in either("run", "two").stdout
    shown = either("run", "--entrypoint", "sh", "one", "-c", "ls -ld /t; ls /t /real").stdout
    assert shown.startswith("d")
    assert "one.txt" in shown


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("COPY --chown=nobody-such app/main.go /", "nobody-such"),
        ("COPY --chmod=u=q app/main.go /", "chmod"),
        ("COPY --parents app/none /", '"/app/none": not found'),
        ("COPY --exclude=app/main.go app/none /", '"/app/none": not found'),
        ("COPY --link --chown=bob app/main.go /", "--link"),
        ("ADD --checksum=sha256:00 app/main.go /", "checksum"),
    ],
)
def test_what_cannot_be_copied(trimaran, bases, app, line, cause):
    app.dockerfile(f"FROM alpine\n{line}\n")
    done = trimaran("build", app, exit_code=1)
    assert "Traceback" not in done.stderr
    assert cause in done.stderr
    assert f">>> {line}" in done.stderr
