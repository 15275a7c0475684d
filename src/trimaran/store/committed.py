"""Reading committed layer folders and the small files in them, for disk functions."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from trimaran.aio import Cancel
from trimaran.errors import Corrupt, NotFound
from trimaran.linux.paths import open_beneath
from trimaran.store.entries import EntryList, Origin
from trimaran.store.tree import Tree
from trimaran.store.upper import explicit, keep_xattrs, prune_unchanged, read_upper

_CHUNK = 1 << 20


def list_upper(cancel: Cancel, folder: str, below: Sequence[EntryList], *, user_xattrs: bool) -> EntryList:
    """The list of a process's folder on the stack with these lists: what it changed, no content digests yet."""
    lower = Tree.stack(below)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        entries = keep_xattrs(fd, read_upper(cancel, fd, user_xattrs=user_xattrs), lower)
    finally:
        os.close(fd)
    pruned = prune_unchanged(explicit(entries, lower), lower)
    root, under = pruned.get(""), lower.get("")
    if root is None or under is None or (root.mode, root.uid, root.gid) != (under.mode, under.uid, under.gid):
        return pruned
    # The root's time changes with every name in it, and BuildKit never lists the root.
    return EntryList(tuple(entry for entry in pruned if entry.path), pruned.opaque)


def open_regular(folder: str, path: str) -> int:
    """A regular file in a layer folder; no symlink is followed, no device opened. NotFound for anything else."""
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EXDEV}:
            raise NotFound(f"read {'/' + path!r}: {error.strerror}") from error
        raise
    finally:
        os.close(root)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotFound(f"read {'/' + path!r}: it is no regular file")
    return fd


def read_small(cancel: Cancel, origin: Origin, path: str, limit: int) -> bytes:
    """All bytes of a file. Corrupt when they are more than `limit` (T19b: a huge passwd)."""
    fd = origin.open()
    try:
        if os.fstat(fd).st_size > limit:
            raise Corrupt(f"read {'/' + path!r}: it is larger than the {limit} bytes allowed")
        parts = []
        while data := os.read(fd, _CHUNK):
            cancel.check()
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(fd)
