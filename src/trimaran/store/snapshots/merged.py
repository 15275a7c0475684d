"""Stacks that are too high for one mount: their lowest folders become one, of hard links to the same files."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from trimaran.aio import Cancel
from trimaran.store.nodes import is_whiteout
from trimaran.store.snapshots.folders import SnapshotFolders
from trimaran.store.snapshots.lowers import Lowers

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def merge_lowest(
    cancel: Cancel, folders: SnapshotFolders, lowers: Sequence[str], limit: int, temporary: list[str]
) -> list[str]:
    """`lowers` (topmost first) with its lowest ones merged, so that half of `limit` is free for what comes on top.

    The merged folder is appended to `temporary`. Nothing is copied: overlayfs never writes to a lower file.
    """
    keep = limit // 2
    target = folders.temporary()
    temporary.append(target)
    merge(cancel, lowers[keep:], target, user_xattrs=folders.user_xattrs)
    return [*lowers[:keep], target]


def merge(cancel: Cancel, lowers: Sequence[str], target: str, *, user_xattrs: bool) -> None:
    """Fill the empty folder `target` with what `lowers` (topmost first) show together; whiteouts are gone."""
    root = os.open(target, _FOLDER)
    try:
        with Lowers(lowers, user_xattrs=user_xattrs) as stack:
            pending = [""]
            made: list[tuple[str, os.stat_result]] = []
            while pending:
                path = pending.pop()
                cancel.check()
                status = stack.status(path)
                assert status is not None
                made.append((path, status))
                pending += _merge_folder(cancel, stack, path, root)
            for path, status in reversed(made):
                _dress(root, path, status)
    finally:
        os.close(root)


def _merge_folder(cancel: Cancel, stack: Lowers, path: str, root: int) -> list[str]:
    prefix = f"{path}/" if path else ""
    below: list[str] = []
    done: set[str] = set()
    target = os.open(path or ".", _FOLDER, dir_fd=root)
    try:
        for folder in stack.folders(path):
            with os.scandir(folder) as entries:
                for entry in entries:
                    cancel.check()
                    if entry.name in done:
                        continue
                    done.add(entry.name)
                    status = entry.stat(follow_symlinks=False)
                    if is_whiteout(status):
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        os.mkdir(entry.name, 0o700, dir_fd=target)
                        below.append(prefix + entry.name)
                    else:
                        os.link(entry.name, entry.name, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
    finally:
        os.close(target)
    return below


def _dress(root: int, path: str, status: os.stat_result) -> None:
    fd = os.open(path or ".", _FOLDER, dir_fd=root)
    try:
        os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(fd)
