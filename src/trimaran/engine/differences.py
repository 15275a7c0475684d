"""What differs between two images: documents, history, layers, and files path by path.

Pure. Files are compared by entry lists: nothing is unpacked, and layers that both images begin with are left out, as
long as nothing above depends on what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from trimaran.digest import Digest
from trimaran.platforms import Platform
from trimaran.store.entries import FILE, FOLDER, NANOSECONDS, WHITEOUT, Entry, EntryList, order
from trimaran.store.tree import Tree

AGAIN = "built again"
"""What the second image is called where it was made to be compared."""

HARD_LINK = "hard link"
"""A field: of which other file a path is a second name."""

Change = Literal["added", "removed", "changed"]


class FieldChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value that differs; None where there is none."""

    name: str
    before: Any = None
    after: Any = None


class FileChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A path that differs, and how. Of a folder that is gone as a whole, or is none any more, only itself is told."""

    path: str
    change: Change
    kind: str
    """What is there now, or was: file, dir, symlink, char, block, fifo."""
    size: int = 0
    fields: tuple[FieldChange, ...] = ()


class HistoryChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of the history; `number` counts from 1, in the second image where it is there."""

    number: int
    change: Change
    created_by: str
    fields: tuple[FieldChange, ...] = ()


class LayerChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A layer, by its place from 1. Equal contents whose blobs differ were compressed in another way."""

    number: int
    change: Change
    before: LayerDigests | None = None
    after: LayerDigests | None = None

    @property
    def is_repacked(self) -> bool:
        return self.before is not None and self.after is not None and self.before.content == self.after.content


class LayerDigests(msgspec.Struct, frozen=True):
    blob: str
    content: str
    """The digest of the uncompressed tar."""
    size: int
    media_type: str


class PlatformDifference(msgspec.Struct, frozen=True):
    """Of one platform's image."""

    platform: str
    config: tuple[FieldChange, ...] = ()
    history: tuple[HistoryChange, ...] = ()
    manifest: tuple[FieldChange, ...] = ()
    layers: tuple[LayerChange, ...] = ()
    files: tuple[FileChange, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.config or self.history or self.manifest or self.layers or self.files)


class ImageSide(msgspec.Struct, frozen=True):
    name: str
    digest: str


class ImageDifference(msgspec.Struct, frozen=True):
    """`same`: bit for bit. Without a difference that is listed, what differs is how the documents are written."""

    before: ImageSide
    after: ImageSide
    same: bool
    index: tuple[FieldChange, ...] = ()
    only_before: tuple[str, ...] = ()
    """Platforms."""
    only_after: tuple[str, ...] = ()
    platforms: tuple[PlatformDifference, ...] = ()


def compare_values(before: Any, after: Any, name: str = "") -> Iterator[FieldChange]:
    """Two JSON values, field by field; lists are compared whole, but lists of NAME=VALUE by name."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            below = f"{name}.{key}" if name else str(key)
            yield from compare_values(before.get(key), after.get(key), below)
    elif before != after:
        if name.endswith(".Env") and isinstance(before, list) and isinstance(after, list):
            changes = tuple(compare_values(_variables(before), _variables(after), name))
            yield from changes or (FieldChange(name, before, after),)  # the order alone
        else:
            yield FieldChange(name, before, after)


def _variables(env: Sequence[Any]) -> dict[str, str]:
    return {key: value for key, _, value in (str(text).partition("=") for text in env)}


def compare_history(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[HistoryChange]:
    """Entries that say the same instruction are one, wherever they stand between others."""
    from difflib import SequenceMatcher

    said = [[str(entry.get("created_by", "")) for entry in entries] for entries in (before, after)]
    found = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, said[0], said[1], autojunk=False).get_opcodes():
        if tag == "equal":
            for one, other, number in zip(before[i:i_end], after[j:j_end], range(j + 1, j_end + 1), strict=True):
                if fields := tuple(compare_values(one, other)):
                    found.append(HistoryChange(number, "changed", str(other.get("created_by", "")), fields))
            continue
        found += [HistoryChange(n + 1, "removed", said[0][n]) for n in range(i, i_end)]
        found += [HistoryChange(n + 1, "added", said[1][n]) for n in range(j, j_end)]
    return found


def compare_layers(before: Sequence[LayerDigests], after: Sequence[LayerDigests]) -> list[LayerChange]:
    found = []
    for number in range(max(len(before), len(after))):
        one = before[number] if number < len(before) else None
        other = after[number] if number < len(after) else None
        if one != other:
            change: Change = "added" if one is None else "removed" if other is None else "changed"
            found.append(LayerChange(number + 1, change, one, other))
    return found


def common(before: Sequence[Digest], after: Sequence[Digest]) -> int:
    """How many layers both stacks begin with."""
    count = 0
    while count < min(len(before), len(after)) and before[count] == after[count]:
        count += 1
    return count


def needs_common(before: Sequence[EntryList], after: Sequence[EntryList]) -> bool:
    """Whether what is below these layers shows in the difference: one says nothing of a path that the other has."""
    paths = [{entry.path for entries in lists for entry in entries} for lists in (before, after)]
    if paths[0] != paths[1]:
        return True
    return any(entries.opaque or any(e.kind == WHITEOUT for e in entries) for entries in (*before, *after))


def compare_files(
    below: Sequence[EntryList], before: Sequence[EntryList], after: Sequence[EntryList]
) -> list[FileChange]:
    """What differs between the roots of two stacks that begin with `below` (which may be left out: `needs_common`)."""
    trees = [Tree.stack([*below, *lists]) for lists in (before, after)]
    links = any(tree.has_links for tree in trees)
    found: list[FileChange] = []
    gone = "\0"
    for path in _candidates(trees, (before, after)):
        if path.startswith(gone):
            continue
        one, other = trees[0].get(path), trees[1].get(path)
        if one is not None and other is not None:
            linked = _links(trees, path) if links and one.kind == other.kind == FILE else ()
            if fields := (*_fields(one, other), *linked):
                found.append(FileChange(path, "changed", other.kind, other.size, fields))
            if one.kind == FOLDER != other.kind:
                gone = f"{path}/"
        elif one is not None:
            found.append(FileChange(path, "removed", one.kind, one.size))
            gone = f"{path}/"
        elif other is not None:
            found.append(FileChange(path, "added", other.kind, other.size))
    return found


def _candidates(trees: Sequence[Tree], stacks: Sequence[Sequence[EntryList]]) -> list[str]:
    """Paths that some layer says something of, folders above them, and all below what one has as a folder alone."""
    lists = [entries for stack in stacks for entries in stack]
    paths = {entry.path for entries in lists for entry in entries}
    for path in list(paths):
        while path:
            path = path.rpartition("/")[0]  # noqa: PLW2901 - on the way up
            if path in paths:
                break
            paths.add(path)
    hiding = {path for entries in lists for path in entries.opaque}
    hiding.update(path for path in paths if trees[0].is_folder(path) != trees[1].is_folder(path))
    for path in hiding:
        for tree in trees:
            paths.update(entry.path for entry in tree.walk(path))
    return sorted(paths, key=order)


def _fields(before: Entry, after: Entry) -> Iterator[FieldChange]:
    pairs: list[tuple[str, Any, Any]] = [("type", before.kind, after.kind)]
    if before.kind == after.kind == FILE:
        pairs += [("size", before.size, after.size), ("content", str(before.digest), str(after.digest))]
    pairs += [
        ("mode", f"{before.mode:04o}", f"{after.mode:04o}"),
        ("owner", f"{before.uid}:{before.gid}", f"{after.uid}:{after.gid}"),
        ("time", before.mtime // NANOSECONDS, after.mtime // NANOSECONDS),
        ("target", before.target, after.target),
        ("device", f"{before.major}:{before.minor}", f"{after.major}:{after.minor}"),
    ]
    for name, one, other in pairs:
        if one != other:
            yield FieldChange(name, one, other)
    attributes = [{name: value.hex() for name, value in entry.xattrs} for entry in (before, after)]
    yield from compare_values(attributes[0], attributes[1], "xattr")


def _links(trees: Sequence[Tree], path: str) -> Iterator[FieldChange]:
    """Whether it is another name of the same file on one side alone; the name that a layer has first, None for it."""
    first = [name if name != path else None for _, name in (tree.inode(path) for tree in trees)]
    yield from compare_values(first[0], first[1], HARD_LINK)


def platform_name(platform: Platform | None) -> str:
    return "unknown" if platform is None else str(platform.normalize())
