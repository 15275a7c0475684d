"""Thin wrappers of the system calls Python does not have; every failure is the OSError of its errno.

Law: no policy here. Numbers of calls from 424 on are equal on all architectures (the kernel's unified table); older
calls go through the C library's own wrappers.
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

AT_FDCWD = -100
AT_RECURSIVE = 0x8000

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19

MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NODEV = 0x4

OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4

FICLONE = 0x40049409

_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _checked(result: int, path: str | bytes | None = None) -> int:
    """The one error function: -1 becomes the OSError subclass of errno, with the path it was about."""
    if result < 0:
        number = ctypes.get_errno()
        text = os.fsdecode(path) if isinstance(path, bytes) else path
        raise OSError(number, os.strerror(number), text) if text is not None else OSError(number, os.strerror(number))
    return result


def _long(value: int) -> ctypes.c_long:
    return ctypes.c_long(value)


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags))


def setns(fd: int, kind: int = 0) -> None:
    _checked(_libc.setns(fd, kind))


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2); `data` of more than a page is refused by the kernel with EINVAL."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _checked(_libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), target)


def umount(target: str, flags: int = MNT_DETACH | UMOUNT_NOFOLLOW) -> None:
    _checked(_libc.umount2(os.fsencode(target), flags), target)


def prctl(option: int, argument: int = 0) -> int:
    zero = ctypes.c_ulong(0)
    return _checked(_libc.prctl(option, ctypes.c_ulong(argument), zero, zero, zero))


def syncfs(fd: int) -> None:
    """Write everything of the file system that `fd` lies on to disk; a write error since the last call is raised."""
    _checked(_libc.syncfs(fd))


def openat2(folder: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2), always close-on-exec. ENOSYS before Linux 5.6, EPERM under old seccomp profiles."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    raw = os.fsencode(path)
    result = _syscall(_long(_SYS_OPENAT2), _long(folder), raw, ctypes.byref(how), _long(ctypes.sizeof(how)))
    return _checked(result, path)


def open_tree(folder: int, path: str, flags: int) -> int:
    result = _syscall(_long(_SYS_OPEN_TREE), _long(folder), os.fsencode(path), _long(flags | os.O_CLOEXEC))
    return _checked(result, path)


def move_mount(mount_fd: int, target_folder: int, target: str) -> None:
    """Attach the detached mount `mount_fd` at `target`; an empty `target` means the folder descriptor itself."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (MOVE_MOUNT_T_EMPTY_PATH if not target else 0)
    raw = os.fsencode(target)
    result = _syscall(_long(_SYS_MOVE_MOUNT), _long(mount_fd), b"", _long(target_folder), raw, _long(flags))
    _checked(result, target)


def fsopen(kind: str) -> int:
    return _checked(_syscall(_long(_SYS_FSOPEN), os.fsencode(kind), _long(1)), kind)


def fsconfig_string(fd: int, key: str, value: str) -> None:
    """Set one option; values of 256 bytes or more are refused by the kernel with EINVAL."""
    raw = os.fsencode(value)
    result = _syscall(_long(_SYS_FSCONFIG), _long(fd), _long(FSCONFIG_SET_STRING), key.encode(), raw, _long(0))
    _checked(result, f"{key}={value}")


def fsconfig_flag(fd: int, key: str) -> None:
    result = _syscall(_long(_SYS_FSCONFIG), _long(fd), _long(FSCONFIG_SET_FLAG), key.encode(), None, _long(0))
    _checked(result, key)


def fsconfig_create(fd: int) -> None:
    _checked(_syscall(_long(_SYS_FSCONFIG), _long(fd), _long(FSCONFIG_CMD_CREATE), None, None, _long(0)))


def fsmount(fd: int, attributes: int = 0) -> int:
    return _checked(_syscall(_long(_SYS_FSMOUNT), _long(fd), _long(1), _long(attributes)))


def mount_setattr(folder: int, path: str, *, add: int = 0, remove: int = 0, flags: int = 0) -> None:
    """Change the attributes of a mount (with AT_RECURSIVE: of its whole tree). ENOSYS before Linux 5.12."""
    attributes = _MountAttr(add, remove, 0, 0)
    size = _long(ctypes.sizeof(attributes))
    raw = os.fsencode(path)
    result = _syscall(_long(_SYS_MOUNT_SETATTR), _long(folder), raw, _long(flags), ctypes.byref(attributes), size)
    _checked(result, path)


def clone_file(source: int, target: int) -> None:
    """Make `target` share the blocks of `source` (FICLONE). EOPNOTSUPP, EXDEV or EINVAL where it cannot."""
    _checked(_libc.ioctl(target, ctypes.c_ulong(FICLONE), ctypes.c_int(source)))


def raw(number: int, *arguments: object) -> int:
    """syscall(2) by number, for calls that only one module makes."""
    converted = [_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _checked(_syscall(_long(number), *converted))
