"""Folders that a layer has something in but does not list: its folder must have them, the stack must not show them.

Overlayfs shows the metadata of the topmost folder at a path. A rendered layer's folder holds such an implied parent
with made-up metadata; so one more folder is laid on top of the stack, in which those parents are as they should be.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Self

from trimaran.aio import Cancel
from trimaran.store.entries import FOLDER, Entry, EntryList, order
from trimaran.store.snapshots import RootStatus
from trimaran.store.snapshots.folders import SnapshotFolders
from trimaran.store.snapshots.lowers import open_folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def root_status(folders: Sequence[str], rendered: Sequence[EntryList | None]) -> RootStatus:
    """What `/` of the stack is (lowest first); a rendered layer that does not list the root says nothing about it."""
    for folder, entries in zip(reversed(folders), reversed(rendered), strict=True):
        if entries is not None:
            entry = entries.get("")
            if entry is not None:
                return RootStatus(entry.mode, entry.uid, entry.gid)
        else:
            status = os.stat(folder, follow_symlinks=False)
            return RootStatus(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    return RootStatus()


def shadow_folder(
    cancel: Cancel, folders: SnapshotFolders, stack: Sequence[str], rendered: Sequence[EntryList | None]
) -> str | None:
    """A temp folder to lay on top of `stack` (lowest first); None when nothing needs it."""
    wanted = _implied(rendered)
    if not wanted:
        return None
    found: dict[str, Entry] = {}
    with _Stack(stack, rendered) as view:
        for path in sorted(wanted, key=order):
            cancel.check()
            covered, entry = view.folder(path)
            if entry is not None and not covered:
                found[path] = entry
        if not found:
            return None
        for above in {above for path in found for above in _above(path)}.difference(found):
            _, entry = view.folder(above)
            found[above] = entry or Entry(above, FOLDER, 0o755)
    return _make(folders, [found[path] for path in sorted(found, key=order)])


def _implied(rendered: Sequence[EntryList | None]) -> set[str]:
    """The root is left out: its metadata is set on the topmost folder of the mount."""
    wanted: set[str] = set()
    for entries in rendered[1:]:
        if entries is not None:
            wanted.update(path for path in entries.children if path and entries.get(path) is None)
    return wanted


class _Stack:
    def __init__(self, folders: Sequence[str], rendered: Sequence[EntryList | None]) -> None:
        self._folders = folders
        self._rendered = rendered
        self._fds: list[int] = []

    def __enter__(self) -> Self:
        for folder, entries in zip(self._folders, self._rendered, strict=True):
            self._fds.append(os.open(folder, _FOLDER) if entries is None else -1)
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            if fd >= 0:
                os.close(fd)

    def folder(self, path: str) -> tuple[bool, Entry | None]:
        """(whether the topmost folder at `path` tells its real metadata already, that metadata).

        None where the stack shows no folder, or nobody ever listed one.
        """
        covered = True
        for index in range(len(self._folders) - 1, -1, -1):
            entries = self._rendered[index]
            if entries is None:
                try:
                    entry = _on_disk(self._fds[index], path)
                except NotADirectoryError:
                    return covered, None
                if entry is not None:
                    return covered, entry
                continue
            if _hides(entries, path):
                return covered, None
            listed = entries.get(path)
            if listed is not None:
                return covered, listed
            if path in entries.children:
                covered = False
        return covered, None


def _on_disk(root: int, path: str) -> Entry | None:
    folder = open_folder(root, path)
    if folder is None:
        return None
    try:
        status = os.fstat(folder)
    finally:
        os.close(folder)
    mode = stat.S_IMODE(status.st_mode)
    return Entry(path, FOLDER, mode, status.st_uid, status.st_gid, status.st_mtime_ns)


def _above(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path


def _hides(entries: EntryList, path: str) -> bool:
    """Whether this layer has something else than a folder at `path` or on the way to it."""
    while path:
        listed = entries.get(path)
        if listed is not None and listed.kind != FOLDER:
            return True
        path = path.rpartition("/")[0]
    return False


def _make(folders: SnapshotFolders, entries: Sequence[Entry]) -> str:
    base = folders.temporary()
    root = os.open(base, _FOLDER)
    try:
        for entry in entries:
            if entry.path:
                os.mkdir(entry.path, 0o700, dir_fd=root)
        for entry in reversed(entries):
            fd = os.open(entry.path or ".", _FOLDER, dir_fd=root)
            try:
                os.fchown(fd, entry.uid, entry.gid)
                os.fchmod(fd, entry.mode)
                os.utime(fd, ns=(entry.mtime, entry.mtime))
            finally:
                os.close(fd)
    finally:
        os.close(root)
    return base
