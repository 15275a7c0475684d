"""A folder of the user's (a build context) or of ours (a snapshot), opened once and read without ever leaving it.

Law: every path is walked from the folder's descriptor and no component may be a symlink; what is opened as a file is a
regular file. Listing is one scandir per folder; what the caller excludes as a whole is never entered.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Self

import msgspec

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Denied, NotFound, TrimaranError
from trimaran.linux.paths import open_beneath
from trimaran.store.entries import (
    FILE,
    FOLDER,
    HARDLINK,
    Entry,
    Origin,
    Origins,
)
from trimaran.store.entry_stat import entry_of

PIECE = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO must not make us wait
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENXIO, errno.ENODEV})


class Verdict(enum.Enum):
    """What `wanted` says about a path."""

    KEEP = "keep"
    SKIP = "skip"
    """Not this one; a folder is entered, and listed after all when something in it is kept."""
    PRUNE = "prune"
    """Neither this one nor anything in it."""
    ALL = "all"
    """This one and everything in it, without asking about that."""


class StatKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What of a file's stat says that its content is still the same (times in nanoseconds)."""

    device: int
    inode: int
    size: int
    mtime: int
    ctime: int


class Folder:
    """Closing it (or leaving its `with`) ends all use; origins made from it must not outlive it."""

    __slots__ = ("_fd", "_lock", "_near", "_near_fd", "path")

    def __init__(self, path: str, fd: int | None = None) -> None:
        """NotFound or Denied when `path` is no folder we may read. `fd` is taken over when given."""
        self.path = path
        if fd is None:
            try:
                fd = os.open(path, _OPEN_FOLDER)
            except OSError as error:
                raise _mapped(error, path) from error
        self._fd = fd
        self._lock = threading.Lock()
        self._near = ""
        self._near_fd = -1

    @property
    def fd(self) -> int:
        return self._fd

    def close(self) -> None:
        with self._lock:
            for fd in (self._fd, self._near_fd):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._near_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, path: str) -> int:
        """A new descriptor to read the regular file `path`. NotFound when there is none (any more)."""
        return self._opened(path)[0]

    def _opened(self, path: str) -> tuple[int, os.stat_result]:
        try:
            fd = self._open(path)
        except OSError as error:
            raise _mapped(error, path) from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise NotFound(f"open {path!r}: not a regular file")
        return fd, status

    def _open(self, path: str) -> int:
        """The folder of the last call stays open: files are mostly asked for in tree order."""
        above, _, name = path.rpartition("/")
        with self._lock:
            if self._fd < 0:
                raise NotFound(f"open {path!r}: the folder is closed")
            if not above:
                return os.open(name, _OPEN, dir_fd=self._fd)
            if above != self._near:
                fd = open_beneath(self._fd, above, os.O_PATH | os.O_DIRECTORY)
                if self._near_fd >= 0:
                    os.close(self._near_fd)
                self._near, self._near_fd = above, fd
            return os.open(name, _OPEN, dir_fd=self._near_fd)

    def stat_key(self, path: str) -> StatKey:
        """Of the regular file `path` as it is now."""
        fd, status = self._opened(path)
        os.close(fd)
        return _stat_key(status)

    def hash(self, cancel: Cancel, path: str) -> tuple[Digest, StatKey]:
        """The regular file's content digest, and its stat after it was read."""
        fd, status = self._opened(path)
        try:
            hasher = sha256()
            asked = min(PIECE, status.st_size + 1)  # a small file is read at once, and no larger buffer made for it
            left = status.st_size
            while data := os.read(fd, asked):
                cancel.check()
                hasher.update(data)
                left -= len(data)
                if not left and len(data) < asked:
                    break
            return Digest("sha256:" + hasher.hexdigest()), _stat_key(os.fstat(fd))
        finally:
            os.close(fd)

    def scan(
        self,
        cancel: Cancel,
        *,
        start: str = "",
        wanted: Callable[[str, bool], Verdict] | None = None,
        stats: dict[str, StatKey] | None = None,
        all_capabilities: bool = False,
        owner: tuple[int, int] | None = None,
    ) -> list[Entry]:
        """All below `start` (and `start` itself unless it is the root), in tree order, paths from this folder.

        Sockets are left out. Later names of a file are hard links to its first. Content digests stay "". `stats` is
        filled for every FILE. The one xattr image layers keep, security.capability, is asked for where it can matter
        (executable files), or for every file with `all_capabilities`. `owner`: whose they shall all be.
        """
        return _Scan(self._fd, cancel, wanted, stats, owner, all_capabilities=all_capabilities).run(start)


class FolderFile(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Origin: a file of an opened folder."""

    folder: Folder
    path: str

    def open(self) -> int:
        return self.folder.open(self.path)


class FolderFiles(Mapping[str, Origin]):
    """Origins of these files of an opened folder, each made when it is asked for: of many they would be large."""

    __slots__ = ("_folder", "_paths")

    def __init__(self, folder: Folder, paths: Collection[str]) -> None:
        self._folder = folder
        self._paths = paths

    def __getitem__(self, path: str) -> Origin:
        return FolderFile(self._folder, path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class Inline(msgspec.Struct, frozen=True):
    """Origin: bytes at hand."""

    data: bytes

    def open(self) -> int:
        fd = os.memfd_create("inline", os.MFD_CLOEXEC)
        try:
            view = memoryview(self.data)
            while view:
                view = view[os.write(fd, view) :]
            os.lseek(fd, 0, os.SEEK_SET)
        except BaseException:
            os.close(fd)
            raise
        return fd


def hash_files(cancel: Cancel, origins: Origins, paths: Iterable[str] | None = None) -> dict[str, Digest]:
    """Content digests of `paths` (all of `origins` by default). NotFound when a file went away."""
    return {path: hash_file(cancel, origins[path]) for path in (origins if paths is None else paths)}


def hash_file(cancel: Cancel, origin: Origin) -> Digest:
    fd = origin.open()
    try:
        hasher = sha256()
        while data := os.read(fd, PIECE):
            cancel.check()
            hasher.update(data)
        return Digest("sha256:" + hasher.hexdigest())
    finally:
        os.close(fd)


def _stat_key(status: os.stat_result) -> StatKey:
    return StatKey(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _mapped(error: OSError, path: str) -> TrimaranError:
    if error.errno in _GONE:
        return NotFound(f"open {path!r}: {(error.strerror or 'not there').lower()}")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Denied(
            f"open {path!r}: permission denied",
            hint="let this account read it, or exclude it in .dockerignore",
        )
    return TrimaranError(f"open {path!r}: {(error.strerror or str(error)).lower()}")


class _Frame:
    """A folder whose content is being listed; `listed` once it is in the result itself."""

    __slots__ = ("entry", "listed", "rest")

    def __init__(self, entry: Entry, rest: Iterator[_Item], *, listed: bool) -> None:
        self.entry = entry
        self.rest = rest
        self.listed = listed


_Item = tuple[Entry, os.stat_result, Verdict]


class _Scan:
    __slots__ = ("_ask", "_cancel", "_device", "_files", "_found", "_owner", "_root", "_stats", "_wanted")

    def __init__(
        self,
        root: int,
        cancel: Cancel,
        wanted: Callable[[str, bool], Verdict] | None,
        stats: dict[str, StatKey] | None,
        owner: tuple[int, int] | None,
        *,
        all_capabilities: bool,
    ) -> None:
        self._root = root
        self._cancel = cancel
        self._wanted = wanted
        self._stats = stats
        self._owner = owner
        self._ask = 0o177777 if all_capabilities else 0o111
        self._files: dict[tuple[int, int], Entry] = {}
        self._found: list[Entry] = []
        self._device = -1

    def run(self, start: str) -> list[Entry]:
        first = self._start(start) if start else self._folder("")
        frames = [_Frame(Entry("", FOLDER), first, listed=True)]
        while frames:
            for entry, status, verdict in frames[-1].rest:
                keep = verdict is not Verdict.SKIP
                if keep:
                    if not frames[-1].listed:
                        self._list(frames)
                    self._add(entry, status)
                if entry.kind == FOLDER:
                    content = self._folder(entry.path, whole=verdict is Verdict.ALL)
                    frames.append(_Frame(entry, content, listed=keep))
                    break
            else:
                frames.pop()
        return self._found

    def _list(self, frames: list[_Frame]) -> None:
        """Folders on the way to something that is kept are listed too."""
        for frame in frames:
            if not frame.listed:
                frame.listed = True
                self._found.append(frame.entry)

    def _add(self, entry: Entry, status: os.stat_result) -> None:
        if entry.kind == FILE:
            if status.st_nlink > 1:
                first = self._files.setdefault((status.st_dev, status.st_ino), entry)
                if first is not entry:
                    entry = msgspec.structs.replace(
                        first, path=entry.path, kind=HARDLINK, target=first.path, size=0, digest=""
                    )
            if self._stats is not None and entry.kind == FILE:
                self._stats[entry.path] = self._stat_key(entry, status)
        self._found.append(entry)

    def _stat_key(self, entry: Entry, status: os.stat_result) -> StatKey:
        """Of many files, so numbers that are equal are one object."""
        mtime, ctime = entry.mtime, status.st_ctime_ns
        if status.st_dev != self._device:
            self._device = status.st_dev
        return StatKey(self._device, status.st_ino, entry.size, mtime, mtime if ctime == mtime else ctime)

    def _start(self, path: str) -> Iterator[_Item]:
        above, _, name = path.rpartition("/")
        try:
            fd = open_beneath(self._root, above, os.O_RDONLY | os.O_DIRECTORY)
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                verdict = self._verdict(path, folder=stat.S_ISDIR(status.st_mode))
                item = self._item(fd, path, name, status, verdict) if verdict is not Verdict.PRUNE else None
            finally:
                os.close(fd)
        except OSError as error:
            raise _mapped(error, path) from error
        return iter([item] if item else [])

    def _folder(self, path: str, *, whole: bool = False) -> Iterator[_Item]:
        """What is in the folder: listed and stat'ed at once, so that no descriptor stays open while we go deeper."""
        prefix = f"{path}/" if path else ""
        items = []
        try:
            fd = open_beneath(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(fd) as listing:
                    found = {entry.name: entry for entry in listing}
                for name in _sorted(found):
                    self._cancel.check()
                    item = self._found_item(fd, prefix + name, found[name], whole=whole)
                    if item is not None:
                        items.append(item)
            finally:
                os.close(fd)
        except OSError as error:
            raise _mapped(error, path) from error
        return iter(items)

    def _found_item(self, fd: int, path: str, found: os.DirEntry[str], *, whole: bool) -> _Item | None:
        verdict = Verdict.ALL if whole else self._verdict(path, folder=found.is_dir(follow_symlinks=False))
        if verdict is Verdict.PRUNE:
            return None
        try:
            return self._item(fd, path, found.name, found.stat(follow_symlinks=False), verdict)
        except FileNotFoundError:  # gone since it was listed: it may as well never have been there
            return None

    def _verdict(self, path: str, *, folder: bool) -> Verdict:
        if self._wanted is None:
            return Verdict.ALL
        verdict = self._wanted(path, folder)
        return Verdict.PRUNE if verdict is Verdict.SKIP and not folder else verdict

    def _item(self, fd: int, path: str, name: str, status: os.stat_result, verdict: Verdict) -> _Item | None:
        entry = entry_of(fd, path, name, status, capability=bool(status.st_mode & self._ask), owner=self._owner)
        return None if entry is None else (entry, status, verdict)


def _sorted(names: Collection[str]) -> list[str]:
    """In the order of their bytes, which for ASCII is the order of the characters."""
    return sorted(names) if all(map(str.isascii, names)) else sorted(names, key=os.fsencode)
