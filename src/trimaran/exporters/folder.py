"""Writing a result's files into a folder of the user's: over what is there, never outside it.

Files belong to the user who builds, as with buildx; modes and times are the image's; devices are left out. A file that
was another's in the image loses its set-id bits, as by chown(2): else it would let everybody act as who builds.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from trimaran.errors import Conflict, Denied
from trimaran.linux import ids
from trimaran.store.entries import FIFO, FILE, FOLDER, HARDLINK, SYMLINK, Entry, Origin

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_CHANGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR})


class FolderWriter:
    """Entries come in tree order, so that at most the folders on one path are open at a time."""

    def __init__(self, folder: str) -> None:
        try:
            os.makedirs(folder, 0o775, exist_ok=True)  # not everybody's, whatever the umask
            self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Denied(f"write to {folder}: {(error.strerror or '').lower()}", hint="name another dest") from error
        users, groups = ids.current_maps()
        self._uid = ids.outside(users, os.geteuid())
        self._gid = ids.outside(groups, os.getegid())
        self._folder = folder
        self._open: list[tuple[str, int]] = [("", self._root)]
        self._folders: list[Entry] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, fd in reversed(self._open):
            os.close(fd)

    def write(self, entry: Entry, origin: Origin | None) -> None:
        """Conflict when something is in the way, Denied when the disk says no; Unavailable of the origin as it is."""
        with self._told(entry.path):
            self._write(entry, origin)

    def _write(self, entry: Entry, origin: Origin | None) -> None:
        parent, _, name = entry.path.rpartition("/")
        where = self._descend(parent)
        if entry.kind == FOLDER:
            self._make_folder(where, name)
            self._folders.append(entry)
            return
        self._remove(where, name)
        if entry.kind == FILE and origin is not None:
            self._write_file(where, name, entry, origin)
        elif entry.kind == SYMLINK:
            os.symlink(entry.target, name, dir_fd=where)
            os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=where, follow_symlinks=False)
        elif entry.kind == HARDLINK:
            self._link(entry, where, name)
        elif entry.kind == FIFO:
            os.mkfifo(name, entry.mode, dir_fd=where)

    def finish(self) -> None:
        """Set modes and times of folders, innermost first: writing into them is over."""
        for entry in reversed(self._folders):
            with self._told(entry.path):
                fd = self._descend(entry.path)
                os.fchmod(fd, entry.mode)
                os.utime(fd, ns=(entry.mtime, entry.mtime))

    def delete_others(self, keep: set[str]) -> None:
        """Remove everything in the folder that is not in `keep`."""
        pending = [""]
        while pending:
            path = pending.pop()
            with self._told(path):
                pending += self._delete_in(path, keep)

    def _delete_in(self, path: str, keep: set[str]) -> list[str]:
        """The folders in `path` that stay."""
        folders = []
        where = self._descend(path)
        for name in os.listdir(where):
            child = f"{path}/{name}" if path else name
            mode = os.stat(name, dir_fd=where, follow_symlinks=False).st_mode
            if child not in keep:
                _remove_tree(where, name, mode)
            elif stat.S_ISDIR(mode):
                folders.append(child)
        return folders

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """What the disk says of `path`, in our words; that it is full is told at the top, for every place alike."""
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            what = f"write {path or '.'} to {self._folder}: {(error.strerror or str(error)).lower()}"
            if error.errno in _CHANGED:
                raise Conflict(
                    what, hint="a link or a file is in the way, or somebody else changes the folder"
                ) from error
            raise Denied(what, hint="check the folder, or name another dest") from error

    def _descend(self, path: str) -> int:
        """The open folder at `path`; every step is checked to be a real folder."""
        while self._open[-1][0] and self._open[-1][0] != path and not path.startswith(self._open[-1][0] + "/"):
            os.close(self._open.pop()[1])
        here = self._open[-1][0]
        rest = path[len(here) :].strip("/")
        for name in rest.split("/") if rest else ():
            fd = os.open(name, _FOLDER_FLAGS, dir_fd=self._open[-1][1])
            here = f"{here}/{name}" if here else name
            self._open.append((here, fd))
        return self._open[-1][1]

    def _make_folder(self, where: int, name: str) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=where)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=where, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=where)
                os.mkdir(name, 0o755, dir_fd=where)

    def _remove(self, where: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=where)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError) as error:
            raise Conflict(f"write {name} to {self._folder}: a folder is in its place", hint="remove it") from error

    def _write_file(self, where: int, name: str, entry: Entry, origin: Origin) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        source = origin.open()
        try:
            target = os.open(name, flags, 0o600, dir_fd=where)
            try:
                _copy(source, target)
                os.fchmod(target, self._mode(entry))
                os.utime(target, ns=(entry.mtime, entry.mtime))
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _mode(self, entry: Entry) -> int:
        mode = entry.mode
        if entry.uid != self._uid:
            mode &= ~stat.S_ISUID
        if entry.gid != self._gid:
            mode &= ~stat.S_ISGID
        return mode

    def _link(self, entry: Entry, where: int, name: str) -> None:
        parent, _, first = entry.target.rpartition("/")
        folder = self._root
        opened = []
        try:
            for part in parent.split("/") if parent else ():
                folder = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
                opened.append(folder)
            os.link(first, name, src_dir_fd=folder, dst_dir_fd=where, follow_symlinks=False)
        finally:
            for fd in opened:
                os.close(fd)


def _copy(source: int, target: int) -> None:
    try:
        while os.copy_file_range(source, target, 1 << 30):
            pass
    except OSError:
        os.lseek(source, 0, os.SEEK_SET)
        os.ftruncate(target, 0)
        os.lseek(target, 0, os.SEEK_SET)
        while data := os.read(source, _CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]


def _remove_tree(where: int, name: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        shutil.rmtree(name, dir_fd=where)
    else:
        os.unlink(name, dir_fd=where)
