"""From entries that nobody checked to a list that holds the law of `store/entries.py`: sorted, and in one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from trimaran.errors import Corrupt, Unsupported
from trimaran.store.entries import BLOCK, CHARACTER, FIFO, FILE, FOLDER, HARDLINK, SYMLINK, WHITEOUT, Entry, order


def checked(entries: Iterable[Entry], opaque: Iterable[str]) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """See `EntryList.of`."""
    ordered = sorted(entries, key=lambda entry: order(entry.path))
    is_linked = any(entry.kind == HARDLINK for entry in ordered)
    files: dict[str, Entry] = {}
    result = []
    previous = None
    for entry in ordered:
        if previous is not None:
            _check_neighbours(previous, entry)
        _check_path(entry.path)
        if entry.kind != FILE:
            entry = _normal(entry, files)  # noqa: PLW2901 - the normal form is the entry from here on
        elif is_linked:
            files[entry.path] = entry
        result.append(entry)
        previous = entry
    hiding = sorted(set(opaque), key=order)
    kinds = {entry.path: entry.kind for entry in result} if hiding else {}
    for path in hiding:
        _check_path(path)
        if kinds.get(path, FOLDER) != FOLDER:
            raise Corrupt(f"list layer: {path!r} is opaque but no folder")
    return tuple(result), tuple(hiding)


def _check_path(path: str) -> None:
    if not path:
        return
    framed = f"/{path}/"
    if "//" in framed or "/./" in framed or "/../" in framed or "\0" in framed:
        raise Corrupt(f"list layer: {path!r} is no clean relative path")
    if "/.wh." in framed:
        raise Unsupported(
            f"list layer: {path!r}: names that begin with .wh. mean deletions in an image layer",
            hint="rename the file, or leave it out",
        )


def _check_neighbours(before: Entry, entry: Entry) -> None:
    if before.path == entry.path:
        raise Corrupt(f"list layer: {entry.path!r} is listed twice")
    if before.kind != FOLDER and entry.path.startswith(before.path + "/"):
        raise Corrupt(f"list layer: {entry.path!r} is below {before.path!r}, which is no folder")


def _normal(entry: Entry, files: Mapping[str, Entry]) -> Entry:
    if not entry.path and entry.kind != FOLDER:
        raise Corrupt(f"list layer: the root is a {entry.kind}, no folder")
    if entry.kind == FOLDER:
        return entry
    if entry.kind == WHITEOUT:
        return Entry(entry.path, WHITEOUT)
    if entry.kind == SYMLINK:
        if not entry.target:
            raise Corrupt(f"list layer: symlink {entry.path!r} has no target")
        return entry if entry.mode == 0o777 else msgspec.structs.replace(entry, mode=0o777)
    if entry.kind == HARDLINK:
        file = files.get(entry.target)
        if file is None:
            raise Corrupt(
                f"list layer: hard link {entry.path!r} to {entry.target!r}, which is no file listed before it"
            )
        return msgspec.structs.replace(file, path=entry.path, kind=HARDLINK, target=entry.target, size=0, digest="")
    if entry.kind == CHARACTER and not entry.major and not entry.minor:
        raise Corrupt(f"list layer: {entry.path!r} is the device 0:0, which means a deletion to overlayfs")
    if entry.kind not in {CHARACTER, BLOCK, FIFO}:
        raise Corrupt(f"list layer: {entry.path!r} is of unknown kind {entry.kind!r}")
    return entry
