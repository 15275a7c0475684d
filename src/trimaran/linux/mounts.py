"""Mounts as context managers: made on entry, detached on exit, whatever happens between.

Law: called in the mount namespace that `enter` made (or that a test unshared), never in the machine's own. Values do
not travel in one comma-joined string that a path could break out of: the new mount API takes them one by one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from trimaran.errors import TrimaranError
from trimaran.linux import kernel, syscalls

_FSCONFIG_LIMIT = 255
_OPTION_PAGE = 4095
_FIRST_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/linux/proc_ns.h


class _NewMountsRefused(Exception):
    """By a seccomp filter: the old call may do."""


class MountFailed(TrimaranError):
    """The kernel refused a mount; `errno` says why."""

    def __init__(self, message: str, *, number: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = number


@contextmanager
def overlay(
    lowers: Sequence[str | int],
    upper: str | None,
    work: str | None,
    target: str,
    *,
    user_namespace: bool | None = None,
    volatile: bool = False,
    nodev: bool = False,
) -> Iterator[str]:
    """Mount the stack `lowers` (topmost first; paths or folder descriptors) at `target`, writable with an `upper`.

    One lower without an upper is a read-only bind mount: overlayfs wants two. `volatile` skips syncing of the upper
    (the caller syncs its file system itself); `work/work/incompat/volatile` then tells that it was used. In a user
    namespace overlayfs keeps its marks in `user.overlay.*` attributes. Raises MountFailed.
    """
    attach_overlay(lowers, upper, work, target, user_namespace=user_namespace, volatile=volatile, nodev=nodev)
    try:
        yield target
    finally:
        syscalls.umount(target)


def attach_overlay(
    lowers: Sequence[str | int],
    upper: str | None,
    work: str | None,
    target: str,
    *,
    user_namespace: bool | None = None,
    volatile: bool = False,
    nodev: bool = False,
) -> None:
    """`overlay` without the detaching: for a mount that lives as long as its namespace."""
    if not lowers:
        raise ValueError("overlay without a lower folder")
    if len(lowers) == 1 and upper is None:
        attach_bind(lowers[0], target, readonly=True)
        return
    if user_namespace is None:
        user_namespace = in_user_namespace()
    options = {"redirect_dir": "off", "metacopy": "off", "index": "off"}
    flags = (["volatile"] if volatile and upper else []) + (["userxattr"] if user_namespace else [])
    if user_namespace:  # userxattr refuses redirect_dir and metacopy by itself and any mention of them
        options = {"index": "off"}
    with ExitStack() as stack:
        short = [_short_path(stack, lower) for lower in lowers]
        if upper is not None:
            if work is None:
                raise ValueError("overlay with an upper folder needs a work folder")
            options["upperdir"] = _short_path(stack, upper)
            options["workdir"] = _short_path(stack, work)
        attributes = (syscalls.MOUNT_ATTR_NODEV if nodev else 0) | (0 if upper else syscalls.MOUNT_ATTR_RDONLY)
        try:
            _mount_overlay(short, options, flags, target, attributes)
        except OSError as error:
            raise _refused("overlay", target, error) from error


def takes_lowers_one_by_one() -> bool:
    """Since Linux 6.5. The release tells: older kernels say so only when the mount is made, and log each try."""
    return kernel.release() >= (6, 5)


def _mount_overlay(lowers: list[str], options: dict[str, str], flags: list[str], target: str, attributes: int) -> None:
    if takes_lowers_one_by_one():
        try:
            _mount_by_values(lowers, options, flags, target, attributes)
        except _NewMountsRefused:
            pass
        else:
            return
    _mount_by_page(lowers, options, flags, target, attributes)


def _mount_by_values(
    lowers: list[str], options: dict[str, str], flags: list[str], target: str, attributes: int
) -> None:
    try:
        fd = syscalls.fsopen("overlay")
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EPERM}:
            raise _NewMountsRefused from error
        raise
    try:
        for lower in lowers:
            syscalls.fsconfig_string(fd, "lowerdir+", lower)
        for key, value in options.items():
            syscalls.fsconfig_string(fd, key, value)
        for flag in flags:
            syscalls.fsconfig_flag(fd, flag)
        syscalls.fsconfig_create(fd)
    except OSError as error:
        raise _with_log(fd, error) from error
    else:
        _attach(fd, target, attributes)
    finally:
        os.close(fd)


def _mount_by_page(lowers: list[str], options: dict[str, str], flags: list[str], target: str, attributes: int) -> None:
    """All options in one string, as before Linux 6.5: it may fill a page, so long paths give way to descriptors."""
    old_flags = (syscalls.MS_NODEV if attributes & syscalls.MOUNT_ATTR_NODEV else 0) | (
        syscalls.MS_RDONLY if attributes & syscalls.MOUNT_ATTR_RDONLY else 0
    )
    with ExitStack() as stack:
        joined = _joined(lowers, options, flags)
        if len(os.fsencode(joined)) > _OPTION_PAGE:
            joined = _joined([_descriptor(stack, lower) for lower in lowers], options, flags)
        if len(os.fsencode(joined)) > _OPTION_PAGE:
            raise OSError(errno.E2BIG, "too many lower folders for this kernel's mount options", target)
        syscalls.mount("overlay", target, "overlay", old_flags, joined)


def _joined(lowers: list[str], options: dict[str, str], flags: list[str]) -> str:
    return ",".join([f"lowerdir={':'.join(lowers)}", *(f"{k}={v}" for k, v in options.items()), *flags])


def _attach(fd: int, target: str, attributes: int) -> None:
    mount_fd = syscalls.fsmount(fd, attributes)
    try:
        syscalls.move_mount(mount_fd, syscalls.AT_FDCWD, target)
    finally:
        os.close(mount_fd)


def _with_log(fd: int, error: OSError) -> OSError:
    """The kernel keeps its reason as text in the descriptor: `e overlay: …` lines."""
    lines: list[str] = []
    while True:
        try:
            lines.append(os.read(fd, 1024).decode(errors="replace").strip()[2:])
        except OSError:
            break
    return OSError(error.errno, "; ".join(lines) or error.strerror, error.filename)


def _refused(kind: str, target: str, error: OSError) -> MountFailed:
    number = error.errno or 0
    hint = ""
    if number in {errno.EPERM, errno.EACCES}:
        hint = "mounting needs root or a user namespace; `trimaran doctor` checks both"
    elif number == errno.EINVAL and kind == "overlay":
        hint = "the folder may itself lie on overlayfs; choose another with TRIMARAN_ROOT"
    return MountFailed(f'mount {kind} at "{target}": {error.strerror}', number=number, hint=hint)


def _short_path(stack: ExitStack, folder: str | int) -> str:
    """A path without a mark overlayfs would split at, short enough for fsconfig; held open until the mount is made."""
    if isinstance(folder, int):
        return f"/proc/self/fd/{folder}"
    if len(os.fsencode(folder)) <= _FSCONFIG_LIMIT and not any(mark in folder for mark in ":,\\"):
        return folder
    return _descriptor(stack, folder)


def _descriptor(stack: ExitStack, folder: str) -> str:
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return f"/proc/self/fd/{fd}"


@contextmanager
def bind(source: str | int, target: str, *, readonly: bool = False) -> Iterator[str]:
    """Show `source` (and what is mounted below it) at `target`; `readonly` holds for the whole tree."""
    attach_bind(source, target, readonly=readonly)
    try:
        yield target
    finally:
        syscalls.umount(target)


def attach_bind(source: str | int, target: str, *, readonly: bool = False) -> None:
    path = f"/proc/self/fd/{source}" if isinstance(source, int) else source
    try:
        syscalls.mount(path, target, None, syscalls.MS_BIND | syscalls.MS_REC)
    except OSError as error:
        raise _refused("bind", target, error) from error
    if not readonly:
        return
    try:
        try:
            syscalls.mount_setattr(
                syscalls.AT_FDCWD, target, add=syscalls.MOUNT_ATTR_RDONLY, flags=syscalls.AT_RECURSIVE
            )
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            syscalls.mount("none", target, None, syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY)
    except OSError as error:
        syscalls.umount(target)
        raise _refused("bind", target, error) from error


@contextmanager
def tmpfs(target: str, *, size: int | None = None, mode: int = 0o755) -> Iterator[str]:
    """A file system in memory, at most `size` bytes."""
    attach_tmpfs(target, size=size, mode=mode)
    try:
        yield target
    finally:
        syscalls.umount(target)


def attach_tmpfs(target: str, *, size: int | None = None, mode: int = 0o755) -> None:
    options = f"mode={mode:o}" + (f",size={size}" if size is not None else "")
    try:
        syscalls.mount("tmpfs", target, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)
    except OSError as error:
        raise _refused("tmpfs", target, error) from error


def attach_proc(target: str = "/proc") -> None:
    """procfs of the caller's PID namespace, over what is there."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    try:
        syscalls.mount("proc", target, "proc", flags)
    except OSError as error:
        raise _refused("proc", target, error) from error


def attach_cgroup2(target: str) -> None:
    """The one cgroup v2 hierarchy, as the caller's cgroup namespace sees it."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    try:
        syscalls.mount("cgroup2", target, "cgroup2", flags)
    except OSError as error:
        raise _refused("cgroup2", target, error) from error


def in_user_namespace() -> bool:
    """Whether this process is in a user namespace other than the machine's first, whose inode number is fixed."""
    return os.stat("/proc/self/ns/user").st_ino != _FIRST_USER_NAMESPACE
