"""How a DiffOp runs: what makes `upper` out of `lower`, as layers that can be put onto something else.

Where the upper root was made on the lower one, those are the layers it was made with, as they are, and one of folders
that they leave to the root below. Else one layer is made from the two trees: what is new or changed (BuildKit's
containerd rules: owner, mode, size, time, xattrs, and content where those are equal; times of folders do not count),
and a deletion for each name that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from trimaran import aio
from trimaran.events import Progress
from trimaran.graph.ops import DiffOp
from trimaran.graph.vertex import Vertex
from trimaran.solver.protocols import KeyInput, Result
from trimaran.steps.context import StepContext
from trimaran.steps.identity import plain_identity
from trimaran.store.entries import FILE, FOLDER, HARDLINK, WHITEOUT, Entry, EntryList, order
from trimaran.store.rootfs import Rootfs
from trimaran.store.tree import Tree


class DiffStep:
    """See `solver.protocols.Step`."""

    remembered = True
    renewable = True
    execution = ""
    served = False

    def __init__(self, vertex: Vertex, context: StepContext) -> None:
        assert isinstance(vertex.op, DiffOp)
        self._op = vertex.op
        self._context = context
        self.op = plain_identity(b"diff", vertex.op)

    async def reads(self, inputs: Sequence[Result]) -> tuple[KeyInput, ...]:
        numbers = sorted({number for number in (self._op.lower, self._op.upper) if number >= 0})
        return tuple(KeyInput(f"rootfs {number}", inputs[number].id, number) for number in numbers)

    async def run(self, inputs: Sequence[Result], progress: Progress) -> tuple[Result, ...]:
        lower = inputs[self._op.lower] if self._op.lower >= 0 else Rootfs(())
        upper = inputs[self._op.upper] if self._op.upper >= 0 else Rootfs(())
        assert isinstance(lower, Rootfs)
        assert isinstance(upper, Rootfs)
        if upper.layers[: len(lower.layers)] == lower.layers:
            return (await self._cut(lower, upper),)
        return (await self._compare(lower, upper),)

    async def _cut(self, lower: Rootfs, upper: Rootfs) -> Rootfs:
        """The layers between the two; what their lists leave to the lower root about folders is said once more."""
        layers = upper.layers[len(lower.layers) :]
        if not lower.layers or not layers:
            return Rootfs(layers)
        store = self._context.store
        lists = [await store.layers.entries(layer) for layer in layers]
        folders = implied_folders(lists, await store.roots.tree(upper))
        return Rootfs((*layers, await store.layers.add(EntryList.of(folders), {}))) if folders else Rootfs(layers)

    async def _compare(self, lower: Rootfs, upper: Rootfs) -> Rootfs:
        before, after = await self._context.view(lower), await self._context.view(upper)
        found = await aio.in_thread(_changes, before.tree, after.tree)
        contents = await before.digests(found.alike), await after.digests(found.alike)
        changed = [path for path in found.alike if contents[0][path] != contents[1][path]]
        entries = [*found.entries, *(_entry(after.tree, path) for path in changed)]
        entries += _other_names(entries, after.tree)
        files = [entry.path for entry in entries if entry.kind == FILE]
        digests, origins = await after.digests(files), await after.origins(files)
        listed = EntryList.of(_linked(_with_parents(entries, after.tree), after.tree, digests))
        layer = await self._context.store.layers.add(listed, origins)
        return Rootfs((layer,))


def implied_folders(lists: Sequence[EntryList], upper: Tree) -> list[Entry]:
    """Folders that `lists` have something in and none of them lists, as they are in `upper`. Pure."""
    paths = {path for entries in lists for path in entries.children if path}
    unlisted = [path for path in paths if all(entries.get(path) is None for entries in lists)]
    found = [upper.get(path) for path in unlisted]
    return [entry for entry in found if entry is not None and entry.kind == FOLDER]


class Changes(msgspec.Struct, frozen=True):
    """`entries` of what differs by its header, and the files that are `alike` but for, perhaps, their content."""

    entries: list[Entry]
    alike: list[str]


def changes(lower: Tree, upper: Tree) -> Changes:
    """All that differs between two roots; parents of what differs are not listed. Pure."""
    found = Changes([], [])
    pending = [""]
    while pending:
        folder = pending.pop()
        for name in dict.fromkeys([*upper.children(folder), *lower.children(folder)]):
            path = f"{folder}/{name}" if folder else name
            before, after = lower.get(path), upper.get(path)
            if after is None:
                found.entries.append(Entry(path, WHITEOUT))
            elif before is None or (after.kind == FOLDER and before.kind != FOLDER):
                found.entries.extend(upper.walk(path))
            elif after.kind == FOLDER:
                if _header(before) != _header(after):
                    found.entries.append(after)
                pending.append(path)
            elif _header(before) != _header(after):
                found.entries.append(after)
            elif after.kind == FILE and after.size and not _is_one(lower, upper, path):
                found.alike.append(path)
    return found


def _changes(cancel: aio.Cancel, lower: Tree, upper: Tree) -> Changes:
    cancel.check()
    return changes(lower, upper)


def _header(entry: Entry) -> object:
    mtime = 0 if entry.kind == FOLDER else entry.mtime
    size = entry.size if entry.kind == FILE else 0
    return (
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        mtime,
        size,
        entry.target,
        entry.major,
        entry.minor,
        entry.xattrs,
    )


def _is_one(lower: Tree, upper: Tree, path: str) -> bool:
    """Whether both roots have the file from the same layer, or its content is known to be the same."""
    before, after = lower.get(path), upper.get(path)
    known = before is not None and after is not None and before.digest != "" and before.digest == after.digest
    return known or lower.layers[lower.layer(path)] is upper.layers[upper.layer(path)]


def _entry(tree: Tree, path: str) -> Entry:
    entry = tree.get(path)
    assert entry is not None
    return entry


def _with_parents(entries: Sequence[Entry], upper: Tree) -> Iterator[Entry]:
    """Each entry, and the folders it is in, as `upper` has them: BuildKit lists them too."""
    listed = {entry.path for entry in entries}
    yield from entries
    for entry in entries:
        folder = entry.path.rpartition("/")[0]
        while folder and folder not in listed:
            listed.add(folder)
            yield _entry(upper, folder)
            folder = folder.rpartition("/")[0]


_Inode = tuple[int, str]
"""A file itself: its layer and its first name there."""


def _inode(tree: Tree, path: str) -> _Inode:
    layer = tree.layer(path)
    listed = tree.layers[layer].get(path)
    return layer, listed.target if listed is not None and listed.kind == HARDLINK else path


def _other_names(entries: Sequence[Entry], upper: Tree) -> list[Entry]:
    """Further names of the files among `entries`: all of them are listed, so that they stay one file."""
    listed = {entry.path for entry in entries}
    inodes = {_inode(upper, entry.path) for entry in entries if entry.kind == FILE}
    found = []
    for layer in {layer for layer, _ in inodes}:
        for entry in upper.layers[layer]:
            for path in (entry.path, entry.target) if entry.kind == HARDLINK else ():
                visible = path not in listed and upper.get(path) is not None
                if visible and _inode(upper, path) == (layer, entry.target) and (layer, entry.target) in inodes:
                    listed.add(path)
                    found.append(_entry(upper, path))
    return found


def _linked(entries: Iterator[Entry], upper: Tree, digests: Mapping[str, str]) -> Iterator[Entry]:
    """Files with the digests of their contents; those that are one file of `upper` stay one here."""
    first_names: dict[_Inode, str] = {}
    for entry in sorted(entries, key=lambda entry: order(entry.path)):
        if entry.kind != FILE:
            yield entry
            continue
        first = first_names.setdefault(_inode(upper, entry.path), entry.path)
        if first == entry.path:
            yield msgspec.structs.replace(entry, digest=digests[entry.path])
        else:
            yield msgspec.structs.replace(entry, kind=HARDLINK, target=first, size=0, digest="")
