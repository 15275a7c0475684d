"""What a stack of layer folders shows, read from the folders themselves: for commits, without entry lists.

Overlayfs's rules: the topmost folder that has a path decides; a whiteout or a non-folder on the way hides what is
below.
All by descriptors, never following a link.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Self

from trimaran.aio import Cancel
from trimaran.store.entries import WHITEOUT, EntryList, parent
from trimaran.store.nodes import is_whiteout, make_whiteout

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_folder(root: int, path: str) -> int | None:
    """The folder at `path` below `root`; None when it is not there. NotADirectoryError when something hides it."""
    folder = os.dup(root)
    for part in path.split("/") if path else ():
        try:
            inner = os.open(part, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in {errno.ENOTDIR, errno.ELOOP, errno.ENXIO}:
                raise NotADirectoryError(errno.ENOTDIR, "hidden", path) from error
            raise
        finally:
            os.close(folder)
        folder = inner
    return folder


class Lowers:
    """An opened stack, topmost first. Descriptors are closed on leaving."""

    def __init__(self, paths: Sequence[str], *, user_xattrs: bool) -> None:
        self._paths = paths
        self.user_xattrs = user_xattrs
        self._opaque = opaque_name(user_xattrs=user_xattrs)
        self._fds: list[int] = []
        self._ends: dict[str, int] = {}
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        for path in self._paths:
            self._fds.append(os.open(path, _FOLDER))
        return self

    def __exit__(self, *_: object) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def folders(self, path: str) -> Iterator[int]:
        """The folders merged at `path`, topmost first; each is closed when the next is asked for."""
        last = self._last(path)
        for index, root in enumerate(self._fds[: last + 1]):
            try:
                folder = open_folder(root, path)
            except NotADirectoryError:
                return
            if folder is None:
                continue
            try:
                if index < last and is_opaque(folder, self._opaque):
                    self._ends[path] = last = index
                yield folder
            finally:
                os.close(folder)
            if index == last:
                return

    def _last(self, path: str) -> int:
        """Index of the lowest folder that an opaque folder on the way to `path` lets through.

        Callers go downwards, so the folders on the way were looked at before.
        """
        last = len(self._fds) - 1
        while path:
            path = path.rpartition("/")[0]
            if path in self._ends:
                last = min(last, self._ends[path])
            elif path not in self._seen:
                self._look(path)
                last = min(last, self._ends.get(path, last))
        return last

    def _look(self, path: str) -> None:
        """Find out where `path` is opaque."""
        self._seen.add(path)
        for _ in self.folders(path):
            continue

    def names(self, path: str) -> dict[str, bool]:
        """Name → whether it is a folder, for what the merged folder `path` shows."""
        shown: dict[str, bool] = {}
        hidden: set[str] = set()
        for folder in self.folders(path):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name in shown or entry.name in hidden:
                        continue
                    if is_whiteout(entry.stat(follow_symlinks=False)):
                        hidden.add(entry.name)
                    else:
                        shown[entry.name] = entry.is_dir(follow_symlinks=False)
        return shown

    def status(self, path: str) -> os.stat_result | None:
        """Of the merged folder at `path`: its topmost folder's. None when there is no such folder."""
        for folder in self.folders(path):
            return os.fstat(folder)
        return None


def opaque_name(*, user_xattrs: bool) -> str:
    return "user.overlay.opaque" if user_xattrs else "trusted.overlay.opaque"


def is_opaque(folder: int, name: str) -> bool:
    try:
        return os.getxattr(folder, name) == b"y"
    except OSError:
        return False


def explicit_deletions(cancel: Cancel, upper: str, lowers: Sequence[str], *, user_xattrs: bool) -> None:
    """Turn opaque folders of `upper` into whiteouts of what they hide, so that the layer may lie on another stack."""
    name = opaque_name(user_xattrs=user_xattrs)
    top = os.open(upper, _FOLDER)
    try:
        with Lowers(lowers, user_xattrs=user_xattrs) as stack:
            pending = [("", False)]
            while pending:
                path, hiding = pending.pop()
                cancel.check()
                folder = open_folder(top, path)
                if folder is None:
                    continue
                try:
                    opaque = is_opaque(folder, name)
                    pending += _make_explicit(folder, path, stack, hiding=hiding or opaque)
                    if opaque:
                        os.removexattr(folder, name)
                finally:
                    os.close(folder)
    finally:
        os.close(top)


def _make_explicit(folder: int, path: str, stack: Lowers, *, hiding: bool) -> list[tuple[str, bool]]:
    """One folder of the upper: hide lower names when it is `hiding`; the folders in it to go on with."""
    with os.scandir(folder) as entries:
        own = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    below = stack.names(path) if hiding else {}
    missing = [name for name in below if name not in own]
    if missing:
        times = os.fstat(folder)
        for name in missing:
            make_whiteout(name, folder)
        mark_whiteouts(folder, user_xattrs=stack.user_xattrs)
        os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))
    prefix = f"{path}/" if path else ""
    return [(prefix + name, hiding and below.get(name, False)) for name, is_folder in own.items() if is_folder]


def mark_whiteouts(folder: int, *, user_xattrs: bool) -> None:
    """Tell overlayfs that this folder holds whiteouts, so that it leaves them out of listings also where nothing lies
    below: it looks for them only in merged folders and in those with an origin (fs/overlayfs, "non-merge dir that may
    have whiteouts"). An empty origin means "copied up, from where is not known".
    """
    with suppress(OSError):
        os.setxattr(folder, "user.overlay.origin" if user_xattrs else "trusted.overlay.origin", b"")


def mark_listed_whiteouts(root: int, entries: EntryList, *, user_xattrs: bool) -> None:
    """`mark_whiteouts` for every folder of a rendered layer that needs it."""
    for path in {parent(entry.path) for entry in entries if entry.kind == WHITEOUT}:
        folder = open_folder(root, path)
        if folder is not None:
            try:
                mark_whiteouts(folder, user_xattrs=user_xattrs)
            finally:
                os.close(folder)
