"""From a file's stat to its entry: kinds, modes, and the one xattr that image layers keep."""

from __future__ import annotations

import os
import stat

from trimaran.store.entries import BLOCK, CHARACTER, FIFO, FILE, FOLDER, SYMLINK, Entry

CAPABILITY = "security.capability"


def entry_of(
    folder: int,
    path: str,
    name: str,
    status: os.stat_result,
    *,
    capability: bool,
    owner: tuple[int, int] | None = None,
) -> Entry | None:
    """The entry of `name` in the opened folder, content digest left ""; None for a socket."""
    kind = _KINDS.get(status.st_mode & _KIND_BITS)
    uid, gid = owner or (status.st_uid, status.st_gid)
    if kind == FILE:  # most are: the short way
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if capability and (value := file_capability(folder, name)):
            xattrs = ((CAPABILITY, value),)
        mode = status.st_mode & _MODE_BITS
        return Entry(path, FILE, mode, uid, gid, status.st_mtime_ns, status.st_size, "", 0, 0, xattrs)
    if kind is None:
        return None
    device = kind in {CHARACTER, BLOCK}
    return Entry(
        path,
        kind,
        status.st_mode & _MODE_BITS,
        uid,
        gid,
        status.st_mtime_ns,
        target=os.readlink(name, dir_fd=folder) if kind == SYMLINK else "",
        major=os.major(status.st_rdev) if device else 0,
        minor=os.minor(status.st_rdev) if device else 0,
    )


def file_capability(folder: int, name: str) -> bytes:
    """The security.capability xattr as an image holds it (revision 2); b"" when there is none.

    Revision 3 is revision 2 plus the user id that is root in the setter's namespace: an image knows no such id.
    """
    try:
        value = os.getxattr(f"/proc/self/fd/{folder}/{name}", CAPABILITY, follow_symlinks=False)
    except OSError:  # none there, or a file system without xattrs
        return b""
    if len(value) == _CAPABILITY_3_SIZE and value[3] == 3:
        return value[:3] + b"\2" + value[4:20]
    return value


_CAPABILITY_3_SIZE = 24
_KIND_BITS, _MODE_BITS = 0o170000, 0o7777
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO,
}
