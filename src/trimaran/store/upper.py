"""What a step changed: the upper folder of its overlay mount, read as an entry list.

Law: a list that leaves here for a blob or another stack has no opaque folders: what they hide is listed as deletions,
so the layer means the same above any stack that has the same content there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

import msgspec

from trimaran.aio import Cancel
from trimaran.linux.paths import open_beneath
from trimaran.store.entries import (
    CHARACTER,
    FILE,
    FOLDER,
    WHITEOUT,
    Entry,
    EntryList,
    implied,
)
from trimaran.store.folder import Folder
from trimaran.store.nodes import WHITEOUTS
from trimaran.store.tree import Tree


def read_upper(cancel: Cancel, fd: int, *, user_xattrs: bool) -> EntryList:
    """Every path in the upper folder `fd` (also the root), content digests "", overlay's marks understood.

    Copied-up parents are in it, opaque folders in its `opaque`: `explicit` and `prune_unchanged` deal with both.
    `fd` stays open. Of xattrs only security.capability is kept, as BuildKit does; `keep_xattrs` knows of others.
    """
    with Folder("upper folder", os.dup(fd)) as folder:
        listed = folder.scan(cancel, all_capabilities=True)
    status = os.fstat(fd)
    root = Entry("", FOLDER, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
    entries = [root, *(Entry(e.path, WHITEOUT) if _is_whiteout(e) else e for e in listed)]
    mark = "user.overlay.opaque" if user_xattrs else "trusted.overlay.opaque"
    opaque = [e.path for e in entries if e.kind == FOLDER and _is_opaque(fd, e.path, mark)]
    return EntryList.of(entries, opaque)


def _is_whiteout(entry: Entry) -> bool:
    return entry.kind == CHARACTER and (entry.major, entry.minor) in WHITEOUTS


def _is_opaque(root: int, path: str, mark: str) -> bool:
    fd = open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.getxattr(fd, mark) == b"y"
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP}:
            return False
        raise
    finally:
        os.close(fd)


def keep_xattrs(fd: int, entries: EntryList, lower: Tree) -> EntryList:
    """With the xattrs that `lower` lists for a path and that are still there: a new mode does not take them away.

    What a process has set itself stays out of layers, as with BuildKit.
    """
    return EntryList.of([_with_xattrs(fd, entry, lower.get(entry.path)) for entry in entries], entries.opaque)


def _with_xattrs(fd: int, entry: Entry, below: Entry | None) -> Entry:
    if below is None or not below.xattrs or entry.kind != below.kind or entry.kind not in {FILE, FOLDER}:
        return entry
    known = {name for name, _ in entry.xattrs}
    kept = [(name, value) for name, _ in below.xattrs if name not in known and (value := _xattr(fd, entry.path, name))]
    return msgspec.structs.replace(entry, xattrs=tuple(sorted((*entry.xattrs, *kept)))) if kept else entry


def _xattr(root: int, path: str, name: str) -> bytes:
    """b"" when it is not there: an empty one is none."""
    fd = open_beneath(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.getxattr(f"/proc/self/fd/{fd}", name)
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP}:
            return b""
        raise
    finally:
        os.close(fd)


def explicit(entries: EntryList, lower: Tree) -> EntryList:
    """The same change to `lower` without opaque folders: a deletion for each name they hide."""
    if not entries.opaque:
        return entries
    return EntryList.of([*entries, *_deletions(entries, lower)])


def _deletions(entries: EntryList, lower: Tree) -> Iterator[Entry]:
    pending = list(entries.opaque)
    seen = set(pending)
    for path in pending:
        if entries.get(path) is None and not lower.is_folder(path):
            yield implied(path)
    while pending:
        path = pending.pop()
        for name in lower.children(path):
            child = f"{path}/{name}" if path else name
            ours = entries.get(child)
            if ours is None and child not in entries.children:
                yield Entry(child, WHITEOUT)
            elif (ours is None or ours.kind == FOLDER) and lower.is_folder(child) and child not in seen:
                seen.add(child)
                pending.append(child)


def prune_unchanged(entries: EntryList, lower: Tree) -> EntryList:
    """Without folders that are as `lower` has them and in which nothing changed.

    Their time is no change (so BuildKit has it): what was there only while the step ran, such as our own mount points
    in /etc, must not be seen. A folder in which something changed is always listed, as BuildKit does, and not only
    where its time shows it: two steps within a second would give another layer than the same steps a second apart.
    """
    opaque = frozenset(entries.opaque)
    kept: list[Entry] = []
    for entry in reversed(entries.entries):  # what is in a folder comes before it
        if entry.kind == FOLDER and entry.path not in opaque:
            prefix = f"{entry.path}/" if entry.path else ""
            is_full = bool(kept) and kept[-1].path.startswith(prefix)
            if not is_full and _is_unchanged(entry, lower):
                continue
        kept.append(entry)
    return EntryList(tuple(reversed(kept)), entries.opaque)


def _is_unchanged(entry: Entry, lower: Tree) -> bool:
    below = lower.get(entry.path)
    if below is None or below.kind != FOLDER:
        return False
    return msgspec.structs.replace(entry, mtime=0) == msgspec.structs.replace(below, mtime=0)
