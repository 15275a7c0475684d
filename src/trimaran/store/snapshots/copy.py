"""A stack shown as a full copy (blocks shared where the file system can): for places that refuse overlayfs.

What may have changed is found by comparing inode, size, mode, owner and times with those of the copy, and moved, not
copied, into a folder of the same form as an overlay upper; there it is compared with the stack, as everywhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from trimaran.aio import Cancel
from trimaran.store.disk import disk_errors
from trimaran.store.nodes import is_whiteout, make_whiteout
from trimaran.store.removal import remove_tree
from trimaran.store.snapshots import Mounted, RootStatus
from trimaran.store.snapshots.folders import SnapshotFolders
from trimaran.store.snapshots.lowers import Lowers, mark_whiteouts
from trimaran.store.snapshots.unchanged import is_empty, leave_out_unchanged

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 24

_Stamp = tuple[int, ...]


class CopySnapshots:
    name = "copy"
    refusal = ""
    limit = 1 << 20

    def __init__(self, folders: SnapshotFolders) -> None:
        self.folders = folders

    @contextmanager
    def mount(self, cancel: Cancel, lowers: Sequence[str], *, root: RootStatus, writable: bool) -> Iterator[Mounted]:
        from trimaran.store.snapshots.overlay import dress

        base = self.folders.temporary()
        path = os.path.join(base, "root")
        try:
            with disk_errors("copy rootfs"):
                os.chmod(base, 0o700)
                os.mkdir(path, 0o755)
                if lowers:
                    copy_stack(cancel, lowers, path, user_xattrs=self.folders.user_xattrs)
                dress(path, root)
            before = _stamps(cancel, path) if writable else {}
            upper = os.path.join(base, "upper")
            yield _CopyMount(path, upper, before, lowers, root, user_xattrs=self.folders.user_xattrs)
        finally:
            remove_tree(Cancel(), base)


class _CopyMount:
    def __init__(
        self,
        path: str,
        upper: str,
        before: dict[str, _Stamp],
        lowers: Sequence[str],
        root: RootStatus,
        *,
        user_xattrs: bool,
    ) -> None:
        self.path = path
        self._lowers = lowers
        self._root = root
        self._user_xattrs = user_xattrs
        self._upper = upper
        self._before = before

    def take(self, cancel: Cancel) -> str | None:
        with disk_errors("commit layer"):
            after = _stamps(cancel, self.path)
            changed = [path for path, stamp in after.items() if path and self._before.get(path) != stamp]
            gone = [path for path in self._before if path not in after]
            if not changed and not gone and self._before[""][:3] == after[""][:3]:
                return None
            _take_changes(
                cancel,
                self.path,
                self._upper,
                after=after,
                changed=changed,
                gone=gone,
                user_xattrs=self._user_xattrs,
            )
            leave_out_unchanged(cancel, self._upper, self._lowers, user_xattrs=self._user_xattrs)
            return None if is_empty(self._upper, self._root) else self._upper


def _stamps(cancel: Cancel, root: str) -> dict[str, _Stamp]:
    """Path → what tells that it changed, parents first. A folder's times are those that a layer would carry."""
    found: dict[str, _Stamp] = {"": _stamp(os.stat(root, follow_symlinks=False))}
    pending = [""]
    while pending:
        cancel.check()
        path = pending.pop()
        folder = os.open(os.path.join(root, path), _FOLDER)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    inner = f"{path}/{entry.name}" if path else entry.name
                    found[inner] = _stamp(entry.stat(follow_symlinks=False))
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(inner)
        finally:
            os.close(folder)
    return found


def _stamp(status: os.stat_result) -> _Stamp:
    own = (status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_mtime_ns)
    if stat.S_ISDIR(status.st_mode):
        return own
    return (*own, status.st_ctime_ns, status.st_size, status.st_rdev)


def _take_changes(
    cancel: Cancel,
    root: str,
    upper: str,
    *,
    after: dict[str, _Stamp],
    changed: list[str],
    gone: list[str],
    user_xattrs: bool,
) -> None:
    """Move what changed from `root` to `upper`, parents made like those in `root`; whiteouts for what is gone."""
    os.mkdir(upper, 0o700)
    made: dict[str, os.stat_result] = {"": os.stat(root, follow_symlinks=False)}
    gone_set = set(gone)
    for path in changed:
        cancel.check()
        if stat.S_ISDIR(after[path][0]):
            _parents(root, upper, f"{path}/", made)
        else:
            _parents(root, upper, path, made)
            os.rename(os.path.join(root, path), os.path.join(upper, path))
    for path in gone:
        cancel.check()
        folder = path.rpartition("/")[0]
        if folder in gone_set or (folder and not stat.S_ISDIR(after[folder][0])):
            continue  # what hides its folder hides it too
        _parents(root, upper, path, made)
        fd = os.open(os.path.join(upper, folder), _FOLDER)
        try:
            make_whiteout(path.rpartition("/")[2], fd)
            mark_whiteouts(fd, user_xattrs=user_xattrs)
        finally:
            os.close(fd)
    for path, status in reversed(made.items()):
        _copy_xattrs(os.path.join(root, path), os.path.join(upper, path))
        _dress(os.path.join(upper, path), status)


def _parents(root: str, upper: str, path: str, made: dict[str, os.stat_result]) -> None:
    """Make the folders above `path` in `upper`; those of `root` are ours alone now, so paths are safe."""
    folder = path.rpartition("/")[0]
    missing = []
    while folder not in made:
        missing.append(folder)
        folder = folder.rpartition("/")[0]
    for each in reversed(missing):
        made[each] = os.stat(os.path.join(root, each), follow_symlinks=False)
        os.mkdir(os.path.join(upper, each), 0o700)


def _dress(path: str, status: os.stat_result) -> None:
    os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
    os.chmod(path, stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def copy_stack(cancel: Cancel, lowers: Sequence[str], target: str, *, user_xattrs: bool) -> None:
    """Fill the empty folder `target` with what `lowers` (topmost first) show together, as files of their own."""
    folders: list[tuple[str, os.stat_result]] = []
    links: dict[tuple[int, int], str] = {}
    with Lowers(lowers, user_xattrs=user_xattrs) as stack:
        pending = [""]
        while pending:
            cancel.check()
            path = pending.pop()
            done: set[str] = set()
            for number, folder in enumerate(stack.folders(path)):
                if number == 0:
                    folders.append((path, os.fstat(folder)))
                    _copy_xattrs(folder, os.path.join(target, path))
                for name in sorted(set(os.listdir(folder)) - done):
                    done.add(name)
                    inner = f"{path}/{name}" if path else name
                    if _copy_entry(cancel, folder, name, os.path.join(target, inner), links):
                        pending.append(inner)
    for path, status in reversed(folders):
        _dress(os.path.join(target, path), status)


def _copy_entry(cancel: Cancel, folder: int, name: str, target: str, links: dict[tuple[int, int], str]) -> bool:
    """Copy one entry that is no folder; True for a folder, which is made and has to be gone through."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if is_whiteout(status):
        return False
    if stat.S_ISDIR(status.st_mode):
        os.mkdir(target, 0o700)
        return True
    key = (status.st_dev, status.st_ino)
    if status.st_nlink > 1 and key in links:
        os.link(links[key], target, follow_symlinks=False)
        return False
    if stat.S_ISREG(status.st_mode):
        _copy_file(cancel, folder, name, target, status)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=folder), target)
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    else:
        os.mknod(target, status.st_mode, status.st_rdev)
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)
    if status.st_nlink > 1:
        links[key] = target
    return False


def _copy_file(cancel: Cancel, folder: int, name: str, target: str, status: os.stat_result) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        copy = os.open(target, _CREATE, 0o600)
        try:
            _copy_bytes(cancel, source, copy, status.st_size)
            os.fchown(copy, status.st_uid, status.st_gid)
            os.fchmod(copy, stat.S_IMODE(status.st_mode))
            _copy_xattrs(source, copy)
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _copy_bytes(cancel: Cancel, source: int, target: int, size: int) -> None:
    """Share the blocks, else let the kernel copy, else copy."""
    from trimaran.linux import syscalls

    with suppress(OSError):
        syscalls.clone_file(source, target)
        return
    done = 0
    while done < size:
        cancel.check()
        try:
            count = os.copy_file_range(source, target, min(_PIECE, size - done))
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}:
                raise
            count = os.sendfile(target, source, None, min(_PIECE, size - done))
        if not count:
            return
        done += count


def _copy_xattrs(source: int | str, target: int | str) -> None:
    """What a process of the image could have set; overlay's own marks are not part of it."""
    try:
        names = os.listxattr(source)
    except OSError:
        return
    for name in names:
        if ".overlay." in name:
            continue
        with suppress(OSError):
            os.setxattr(target, name, os.getxattr(source, name))
