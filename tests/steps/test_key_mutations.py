"""What is in a key, by changing one thing at a time: an instruction, a flag, an option of the build, a file's attribute.

Each row names the step whose key is the first to change, or says that none may. Graphs are converted, contexts scanned
and file steps run as in a build; processes are not started: each is taken to make one file named by its key.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, __file__.rpartition("/")[0])
from key_cases import (
    BIND,
    BOUND,
    CHANGES,
    COPY,
    DOCKERFILE,
    GIT,
    SAME,
    SECRET,
    VARIANTS,
    Case,
    edit,
    times,
)

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
PASSWD = b"root:x:0:0::/:/bin/sh\nuser:x:5:5::/:/bin/sh\n"


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


@pytest.mark.parametrize(("case", "step"), CHANGES.values(), ids=CHANGES)
def test_what_can_change_the_result_changes_the_key(world, case, step):
    before = world.keys(edit("COPY src", "ADD src") if step is None else Case(secrets=case.secrets))
    after = world.keys(case)
    assert first_changed(before, after) == (step or "ADD --unpack=false src /app/")


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
def test_nothing_else_changes_a_key(world, case):
    assert list(world.keys(case).values()) == list(world.keys(Case()).values())


@pytest.mark.parametrize(("one", "other", "differ"), VARIANTS.values(), ids=VARIANTS)
def test_variants_of_an_instruction(world, one, other, differ):
    keys = [
        list(world.keys(edit("RUN make all", each, secrets={"s": "1", "t": "1"})).values())[-1] for each in (one, other)
    ]
    assert (keys[0] != keys[1]) == differ


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


@pytest.mark.root
def test_the_numbers_of_a_device_are_in_the_key(world):
    def device(minor: int):
        return lambda folder: os.mknod(folder / "src/device", stat.S_IFCHR | 0o600, os.makedev(1, minor))

    assert first_changed(world.keys(Case(files=device(3))), world.keys(Case(files=device(5)))) == COPY


def test_where_and_when_it_is_built_is_in_no_key(tmp_path, monkeypatch):
    def built(name: str) -> dict[str, Digest]:
        """On a store and in a folder of its own. Times reach the names of layers there, so they are the same."""
        context = tmp_path / f"context {name}"
        context.mkdir()
        with open_store(str(tmp_path / f"store {name}")) as store:
            return World(store, context).keys(Case(files=times))

    before = built("here")
    for name, value in {"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8", "LC_ALL": "C", "HOME": "/", "USER": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert built("elsewhere") == before
