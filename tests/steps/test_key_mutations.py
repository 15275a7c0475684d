"""What is in a key, by changing one thing at a time: an instruction, a flag, an option of the build, a file's attribute.

Each row names the step whose key is the first to change, or says that none may. Graphs are converted, contexts scanned
and file steps run as in a build; processes are not started: each is taken to make one file named by its key.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dockerfile.bridge import build, vertices
from trimaran.digest import Digest
from trimaran.events import Progress, discard
from trimaran.executor.sandbox import Networks, Sandbox
from trimaran.graph.ops import ExecOp, MergeOp, SourceOp
from trimaran.platforms import Platform
from trimaran.solver.keys import key_of
from trimaran.sources.given import Client, Nothing
from trimaran.sources.local import LocalSource
from trimaran.steps.context import StepContext
from trimaran.steps.make import make_step
from trimaran.store.entries import FILE, FOLDER, Entry, EntryList
from trimaran.store.folder import Inline
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import open_store

HOST = Platform("linux", "amd64")
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
PASSWD = b"root:x:0:0::/:/bin/sh\nuser:x:5:5::/:/bin/sh\n"


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


class Given(Nothing):
    def __init__(self, case: Case) -> None:
        self._case = case

    async def get(self, identifier):
        value = self._case.secrets.get(identifier)
        return value.encode() if value is not None else None

    def in_key(self, identifier):
        return identifier in self._case.hashed

    async def check(self, identifier):
        return True


class World:
    """A store, a context folder, and what was made under which key so far."""

    def __init__(self, store, context: Path) -> None:
        self.store = store
        self.context = context
        self._made: dict[Digest, tuple[Rootfs, ...]] = {}

    def keys(self, case: Case) -> dict[str, Digest]:
        """Step → key, in the order of the graph. The context is made anew and is gone afterwards."""
        fill(self.context)
        if case.files is not None:
            case.files(self.context)
        result, _ = build(case.text, **case.options)
        try:
            return asyncio.run(self._keys(vertices(result), case))
        finally:
            empty(self.context)

    async def _keys(self, graph, case: Case) -> dict[str, Digest]:
        given = Given(case)
        source = LocalSource(self, self.store.stat_cache, case.mode)
        context = StepContext(
            store=self.store,
            sources={"local": source},
            sandbox=lambda: Sandbox(lambda: None, Networks("/", rootless=False), {"network.host", "security.insecure"}),
            slots=1,
            now=0,
            host=HOST,
            client=Client(given, given),
        )
        done: dict[Digest, tuple] = {}
        keys = {}
        for vertex in graph:
            inputs = [done[edge.vertex.digest][edge.index] for edge in vertex.inputs]
            if isinstance(vertex.op, SourceOp):
                done[vertex.digest] = (await self._source(vertex, context),)
                continue
            step = make_step(vertex, context)
            if isinstance(vertex.op, MergeOp):
                done[vertex.digest] = await step.run(inputs, Progress(discard, vertex.digest))
                continue
            key = key_of(step.op, await step.reads(inputs))
            if vertex.hints.place:
                keys[vertex.hints.name.partition("] ")[2]] = key
            if key not in self._made:  # as the cache does: times of what is read reach no layer that is known
                self._made[key] = await self._run(step, vertex, key, inputs)
            done[vertex.digest] = self._made[key]
        return keys

    async def _run(self, step, vertex, key, inputs):
        if isinstance(vertex.op, ExecOp):
            root = next(inputs[mount.input] for mount in vertex.op.mounts if mount.dest == "/")
            return (Rootfs((*root.layers, await self._layer({"made": key.encode()}))),)
        return await step.run(inputs, Progress(discard, vertex.digest))

    async def _source(self, vertex, context):
        if vertex.op.scheme == "local":
            fetched = await context.sources["local"].fetch(vertex.op, None, Progress(discard, vertex.digest))
            return fetched.result
        name = f"{vertex.op.identifier} {vertex.constraints.platform}".encode()
        return Rootfs((await self._layer({"etc/passwd": PASSWD, "etc/group": b"", "name": name}),))

    async def _layer(self, files: dict[str, bytes]):
        entries = [Entry(path, FILE, 0o644, size=len(d), digest=str(Digest.of(d))) for path, d in files.items()]
        entries += [Entry("etc", FOLDER, 0o755)] if "etc/passwd" in files else []
        return await self.store.layers.add(EntryList.of(entries), {path: Inline(d) for path, d in files.items()})

    def folder(self, name):
        return str(self.context)


def fill(folder: Path) -> None:
    os.umask(0o022)
    for name in ("src", "src/sub", "src/empty", "other"):
        (folder / name).mkdir()
    for name, data in {"src/a": "a", "src/sub/b": "b", "src/c": "a", "other/f": "f", "src/tool": "#!"}.items():
        (folder / name).write_text(data)
    (folder / "src/tool").chmod(0o755)
    (folder / "src/link").symlink_to("a")
    (folder / "src/hard").hardlink_to(folder / "src/c")


def empty(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)
    folder.mkdir()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("context")
    with open_store(str(tmp_path_factory.mktemp("store"))) as store:
        yield World(store, folder)


def first_changed(before: dict[str, Digest], after: dict[str, Digest]) -> str | None:
    """The first step of the changed build whose key is none of before."""
    return next((name for name, key in after.items() if key not in before.values()), None)


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
    "a file that is not copied": Case(files=write("other/f", "F")),
    "a new file that is not copied": Case(files=write("new", "")),
    "a mode that is not copied": Case(files=mode("other/f", 0o600)),
    "the mode of the copied folder itself, of which the content is copied": Case(files=mode("src", 0o700)),
    "the folder's name": Case(
        text=DOCKERFILE.replace("COPY src", "COPY moved"),
        files=lambda folder: (folder / "src").rename(folder / "moved"),
    ),
    "comments and spaces": edit("RUN make all", "# all\nRUN   make all"),
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


@pytest.mark.parametrize(("case", "step"), CHANGES.values(), ids=CHANGES)
def test_what_can_change_the_result_changes_the_key(world, case, step):
    before = world.keys(edit("COPY src", "ADD src") if step is None else Case(secrets=case.secrets))
    after = world.keys(case)
    assert first_changed(before, after) == (step or "ADD --unpack=false src /app/")


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
def test_nothing_else_changes_a_key(world, case):
    assert list(world.keys(case).values()) == list(world.keys(Case()).values())


VARIANTS = {
    "where a bind is mounted": (BIND, BIND.replace("/m", "/n"), True),
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


@pytest.mark.parametrize(("one", "other", "differ"), VARIANTS.values(), ids=VARIANTS)
def test_variants_of_an_instruction(world, one, other, differ):
    keys = [
        list(world.keys(edit("RUN make all", each, secrets={"s": "1", "t": "1"})).values())[-1] for each in (one, other)
    ]
    assert (keys[0] != keys[1]) == differ


BOUND = {
    "content": (write("src/a", "x"), True),
    "mode": (mode("src/a", 0o600), True),
    "the mode of the folder itself": (mode("src", 0o700), True),
    "times": (times, False),
    "what is not shown": (write("other/f", "x"), False),
}


@pytest.mark.parametrize(("change", "differ"), BOUND.values(), ids=BOUND)
def test_what_a_process_is_shown(world, change, differ):
    text = DOCKERFILE.replace("RUN make all", BIND).replace(COPY + "\n", "")
    before, after = world.keys(Case(text=text)), world.keys(Case(text=text, files=change))
    assert first_changed(before, after) == (BIND if differ else None)


def test_a_secret_is_in_the_key_only_where_that_was_asked_for(world):
    text = DOCKERFILE.replace("RUN make all", SECRET)

    def key(value: str, *hashed: str) -> Digest:
        return world.keys(Case(text=text, secrets={"s": value}, hashed=frozenset(hashed)))[SECRET]

    assert key("1") == key("2")
    assert key("1", "s") != key("2", "s")
    assert key("1", "s") == key("1", "s")
    assert key("1", "s") != key("1")
    path = Path(world.store.root) / "secret.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32
    before = key("1", "s")
    path.unlink()
    assert key("1", "s") != before, "another store's key is another"


GIT = {
    "a mode without meaning to git": (mode("src/a", 0o600), True),
    "a group that may write": (mode("src/sub", 0o2775), True),
    "an executable only its owner may run": (mode("src/tool", 0o700), True),
    "the executable bit": (mode("src/a", 0o755), False),
    "content": (write("src/a", "x"), False),
}


@pytest.mark.parametrize(("change", "same"), GIT.values(), ids=GIT)
def test_what_git_does_not_keep_does_not_count_in_git_mode(world, change, same):
    before, after = world.keys(Case(mode="git")), world.keys(Case(mode="git", files=change))
    assert first_changed(before, after) == (None if same else COPY)


@pytest.mark.root
def test_a_capability_of_a_file_is_in_the_key(world):
    capability = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

    def change(folder: Path) -> None:
        os.setxattr(folder / "src/tool", "security.capability", capability)

    assert first_changed(world.keys(Case()), world.keys(Case(files=change))) == COPY
    assert first_changed(world.keys(Case(mode="git")), world.keys(Case(mode="git", files=change))) is None
