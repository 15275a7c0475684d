"""What a step left as it was is taken out of its folder: a new copy of a lower file is no change.

Overlayfs copies a whole file up for a `chown` to the owner it has, for another name of it, for being opened to be
written. BuildKit's layers leave such copies out (util/overlay of moby/buildkit, which follows containerd's continuity:
kind, mode, owner, device, size, time and capabilities, then the target or the content). So do ours, by the folder
itself, from which everything else about the layer is read. The content is compared in any case, where BuildKit trusts
times that have nanoseconds: a file may be given the time it had.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple, Self

from trimaran.aio import Cancel
from trimaran.store.entries import parent
from trimaran.store.entry_stat import CAPABILITY
from trimaran.store.nodes import is_whiteout
from trimaran.store.removal import unlink_all
from trimaran.store.snapshots import RootStatus
from trimaran.store.snapshots.lowers import Lowers, open_folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1 << 20
_FEW = 32
"""Names that are looked for one by one; of more, a lower folder is listed first."""


def leave_out_unchanged(cancel: Cancel, upper: str, lowers: Sequence[str], *, user_xattrs: bool) -> None:
    """Remove from `upper` (overlay-ready, nothing opaque, in use by nobody) what the stack below shows just so.

    Also folders that hold nothing then, unless their time changed, and whiteouts of what is not there.
    """
    with _Leaving(upper) as leaving, Lowers(lowers, user_xattrs=user_xattrs) as stack:
        found = [_Merged("", os.fstat(leaving.top), None)]
        for folder in found:  # grows as it is gone through: a folder comes before those in it
            cancel.check()
            found += _leave_out_files(cancel, leaving, stack, folder)
        _leave_out_folders(leaving.top, found)


class _Leaving:
    """The opened upper, and a folder beside it for what leaves it: a large file takes its time to be removed, and
    several are removed at a time.
    """

    def __init__(self, upper: str) -> None:
        self._gone = f"{upper}.gone"
        os.mkdir(self._gone, 0o700)
        self._count = 0
        self._to = os.open(self._gone, _FOLDER)
        self.top = os.open(upper, _FOLDER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.top)
        os.close(self._to)
        unlink_all(self._gone, [str(number) for number in range(self._count)])
        os.rmdir(self._gone)

    def take(self, folder: int, names: Sequence[str]) -> None:
        for name in names:
            _insist(folder, partial(os.rename, name, str(self._count), src_dir_fd=folder, dst_dir_fd=self._to))
            self._count += 1


def _insist(folder: int, change: Callable[[], None]) -> None:
    """An account that is held to modes owns the folder all the same; its mode is given again with its time."""
    try:
        change()
    except PermissionError:
        os.fchmod(folder, 0o700)
        change()


def is_empty(upper: str, root: RootStatus) -> bool:
    """Whether a step's folder says nothing: neither is anything in it, nor has `/` another mode or owner."""
    own = os.stat(upper, follow_symlinks=False)
    if (stat.S_IMODE(own.st_mode), own.st_uid, own.st_gid) != (stat.S_IMODE(root.mode), root.uid, root.gid):
        return False
    with os.scandir(upper) as entries:
        return next(entries, None) is None


class _Merged:
    """A folder of the upper where the stack shows a folder, too: its status as it was, and that of the one `below`."""

    __slots__ = ("below", "left", "path", "status", "touched")

    def __init__(self, path: str, status: os.stat_result, below: os.stat_result | None) -> None:
        self.path = path
        self.status = status
        self.below = below
        self.left = 0
        self.touched = False

    def says_nothing(self) -> bool:
        if self.left or self.below is None:
            return False
        one, other = ((s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns) for s in (self.status, self.below))
        return one == other


def _leave_out_files(cancel: Cancel, leaving: _Leaving, stack: Lowers, merged: _Merged) -> list[_Merged]:
    """Remove what is unchanged directly in one folder; the folders in it that are merged with lower ones."""
    folder = open_folder(leaving.top, merged.path)
    assert folder is not None
    try:
        with os.scandir(folder) as entries:
            waiting = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
        merged.left = len(waiting)
        below: list[_Merged] = []
        unchanged: list[str] = []
        prefix = f"{merged.path}/" if merged.path else ""
        for lower in stack.folders(merged.path):
            for name in _shared(waiting, lower):
                status = _status(lower, name)
                if status is None:
                    continue
                own = waiting.pop(name)
                if stat.S_ISDIR(own.st_mode) and stat.S_ISDIR(status.st_mode):
                    below.append(_Merged(prefix + name, own, status))
                elif is_whiteout(status):
                    unchanged += [name] if is_whiteout(own) else []
                elif _is_same(cancel, _Pair(folder, lower, name), own, status):
                    unchanged.append(name)
        unchanged += [name for name, own in waiting.items() if is_whiteout(own)]
        leaving.take(folder, unchanged)
        merged.left -= len(unchanged)
        merged.touched = bool(unchanged)
        return below
    finally:
        os.close(folder)


def _shared(waiting: Collection[str], lower: int) -> list[str]:
    """Those of the names that may be in the lower folder."""
    return list(waiting) if len(waiting) <= _FEW else [name for name in os.listdir(lower) if name in waiting]


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


class _Pair(NamedTuple):
    """A name in two folders."""

    upper: int
    lower: int
    name: str


def _is_same(cancel: Cancel, pair: _Pair, own: os.stat_result, below: os.stat_result) -> bool:
    cancel.check()
    if _stamp(own) != _stamp(below):
        return False
    if stat.S_ISLNK(own.st_mode):
        return os.readlink(pair.name, dir_fd=pair.upper) == os.readlink(pair.name, dir_fd=pair.lower)
    return not stat.S_ISREG(own.st_mode) or _is_same_file(cancel, pair, own.st_size)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_size, status.st_rdev)


def _is_same_file(cancel: Cancel, pair: _Pair, size: int) -> bool:
    """Regular files only are opened, no device of an image ever is. What may not be read counts as changed."""
    opened: list[int] = []
    try:
        opened.extend(os.open(pair.name, _FILE, dir_fd=folder) for folder in (pair.upper, pair.lower))
        upper, lower = opened
        return _attributes(upper) == _attributes(lower) and _is_same_content(cancel, upper, lower, size)
    except PermissionError:
        return False
    finally:
        for fd in opened:
            os.close(fd)


def _is_same_content(cancel: Cancel, one: int, other: int, size: int) -> bool:
    while size > 0:
        cancel.check()
        data = os.read(one, _PIECE)
        if not data or data != os.read(other, len(data)):
            return False
        size -= len(data)
    return True


def _attributes(fd: int) -> dict[str, bytes]:
    """The xattrs that steps set and read; overlayfs's own marks and labels of security modules are none."""
    try:
        names = os.listxattr(fd)
    except OSError:
        return {}
    told = (name for name in names if name == CAPABILITY or name.startswith(("user.", "system.posix_acl_")))
    return {name: os.getxattr(fd, name) for name in told if ".overlay." not in name}


def _leave_out_folders(top: int, found: Sequence[_Merged]) -> None:
    """Remove those that hold nothing and are as below, the inner ones first; the others get their times again."""
    folders = {each.path: each for each in found}
    for each in reversed(found):
        if each.left and not each.touched:
            continue
        folder = open_folder(top, each.path)
        assert folder is not None
        try:
            if each.says_nothing() and not _attributes(folder):
                _remove_folder(top, each.path, folders[parent(each.path)])
            elif each.touched:
                os.fchmod(folder, stat.S_IMODE(each.status.st_mode))
                os.utime(folder, ns=(each.status.st_atime_ns, each.status.st_mtime_ns))
        finally:
            os.close(folder)


def _remove_folder(top: int, path: str, above: _Merged) -> None:
    folder = open_folder(top, above.path)
    assert folder is not None
    try:
        _insist(folder, partial(os.rmdir, path.rpartition("/")[2], dir_fd=folder))
    finally:
        os.close(folder)
    above.left -= 1
    above.touched = True
