"""Making files, links and devices in a folder of ours from entries: by folder descriptor and single name only.

Law: nothing here follows a symlink or takes a path with "/" in it, so an entry list, however it came about, can only
reach what is in the folder it is written to. Overlay's own marks are set here and nowhere else.
"""

from __future__ import annotations

import errno
import os
import stat

from trimaran.errors import TrimaranError, Unavailable
from trimaran.linux import place
from trimaran.store.entries import BLOCK, CHARACTER, FIFO, FOLDER, SYMLINK, WHITEOUT, Entry
from trimaran.store.failpoints import reached

WHITEOUTS = ((0, 0), (0, 1))
"""Numbers of the character devices that say "deleted": overlayfs's own, and one that may be made where the store itself
lies on overlayfs, which refuses its own there. No driver has the number 0; layers that list such a device are refused.
"""
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES = {CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK, FIFO: stat.S_IFIFO}
_REFUSED = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and (os.major(status.st_rdev), os.minor(status.st_rdev)) in WHITEOUTS


def make_whiteout(name: str, folder: int) -> None:
    """Overlayfs's whiteout, which the kernel lets everybody make (since 5.8 also in user namespaces).

    On overlayfs itself it is refused, and the second one is made, by whoever may make devices; it is for folders that
    are copied, since none there can be stacked.
    """
    try:
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=folder)
    except PermissionError:
        os.mknod(name, stat.S_IFCHR, os.makedev(*WHITEOUTS[1]), dir_fd=folder)


class Nodes:
    """Writes as one account into one file system; remembers what could not be made (`skipped`).

    The rule: a device node or an xattr that this machine or account may not set is left out and named in `skipped`
    (the entry list still has it, so no blob loses it); an owner that can't be set is an error, unless this account can
    give files to nobody: then all are its own, and snapshots of that form are never shown to others (folders.py). An
    account that may not read everything can read these.
    """

    __slots__ = ("_gid", "_gives", "_opaque", "_reads_all", "_uid", "skipped")

    def __init__(self, *, user_xattrs: bool) -> None:
        """`user_xattrs`: overlay is mounted with `userxattr` (unprivileged), so its marks are `user.overlay.*`."""
        self._uid = os.geteuid()
        self._gid = os.getegid()
        self._gives = place.gives_files()
        self._reads_all = self._gives or place.has_capability(place.CAP_DAC_OVERRIDE)
        self._opaque = "user.overlay.opaque" if user_xattrs else "trusted.overlay.opaque"
        self.skipped: list[str] = []

    def create(self, folder: int, name: str) -> int:
        """A new empty file, open for writing; `finish` gives it its metadata."""
        reached("before snapshot write")
        return os.open(name, _CREATE, 0o600, dir_fd=folder)

    def finish(self, fd: int, entry: Entry) -> None:
        """Owner, mode, xattrs and time of an open file or folder, in the order in which they don't undo each other."""
        if entry.uid != self._uid or entry.gid != self._gid or entry.kind == FOLDER:
            self._own(fd, entry)
        ours = 0 if self._reads_all else 0o700 if entry.kind == FOLDER else 0o400
        os.fchmod(fd, entry.mode | ours)
        for name, value in entry.xattrs:
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                self.skipped.append(f"{entry.path} ({name})")
        os.utime(fd, ns=(entry.mtime, entry.mtime))

    def _own(self, fd: int, entry: Entry) -> None:
        if not self._gives:
            return
        try:
            os.fchown(fd, entry.uid, entry.gid)
        except OSError as error:
            raise _owner_error(error, entry) from error

    def folder(self, above: int, name: str) -> int:
        """A new folder, opened; `finish` gives it its metadata when nothing more is put into it."""
        os.mkdir(name, 0o700, dir_fd=above)
        return os.open(name, OPEN_FOLDER, dir_fd=above)

    def opaque(self, folder: int) -> None:
        os.setxattr(folder, self._opaque, b"y")

    def link(self, source_folder: int, source: str, folder: int, name: str) -> None:
        os.link(source, name, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)

    def other(self, folder: int, name: str, entry: Entry) -> None:
        """A symlink, device, FIFO or whiteout, with its metadata."""
        if entry.kind == WHITEOUT:
            try:
                make_whiteout(name, folder)
            except PermissionError:
                if self._reads_all:
                    raise
                self.skipped.append(entry.path)  # a folder that is only read, never stacked
            return
        if entry.kind == SYMLINK:
            os.symlink(entry.target, name, dir_fd=folder)
        else:
            try:
                os.mknod(name, _TYPES[entry.kind] | 0o600, os.makedev(entry.major, entry.minor), dir_fd=folder)
            except PermissionError:
                self.skipped.append(entry.path)
                return
        try:
            if self._gives:
                os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            raise _owner_error(error, entry) from error
        if entry.kind != SYMLINK:
            _change_mode(folder, name, entry.mode)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)


def _change_mode(folder: int, name: str, mode: int) -> None:
    """chmod of what must not be opened (a device), without following a link that may stand there."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def _owner_error(error: OSError, entry: Entry) -> TrimaranError:
    if error.errno not in {errno.EPERM, errno.EINVAL}:
        return Unavailable(f"write {entry.path!r}: {(error.strerror or str(error)).lower()}")
    return TrimaranError(
        f"write {entry.path!r}: its owner {entry.uid}:{entry.gid} is none this account may give files to",
        hint="give this account subordinate ids (/etc/subuid and /etc/subgid), or build as root",
    )


def remove(folder: int, name: str) -> None:
    """Remove `name` and all in it; links are removed, never followed. Nothing there is no error."""
    try:
        os.unlink(name, dir_fd=folder)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):  # unlink of a folder: EISDIR on Linux, EPERM by POSIX
        pass
    pending: list[_Doomed] = []
    try:
        pending.append(_Doomed(folder, name))
        while pending:
            last = pending[-1]
            if last.folders:
                pending.append(_Doomed(last.fd, last.folders.pop()))
                continue
            pending.pop()
            os.close(last.fd)
            os.rmdir(last.name, dir_fd=pending[-1].fd if pending else folder)
    finally:
        for each in pending:
            os.close(each.fd)


class _Doomed:
    """A folder to be removed, opened, with nothing in it any more but `folders`: listed once, however many they are."""

    __slots__ = ("fd", "folders", "name")

    def __init__(self, above: int, name: str) -> None:
        self.name = name
        self.fd = os.open(name, OPEN_FOLDER, dir_fd=above)
        self.folders: list[str] = []
        try:
            with os.scandir(self.fd) as listing:
                found = [(each.name, each.is_dir(follow_symlinks=False)) for each in listing]
            for inner, is_folder in found:
                if is_folder:
                    self.folders.append(inner)
                else:
                    os.unlink(inner, dir_fd=self.fd)
        except BaseException:
            os.close(self.fd)
            raise
