"""Opening a path inside a folder that somebody else filled: no symlink, `..` or magic link leads out of it.

The kernel does it (openat2, Linux 5.6); where that call is missing or filtered, an equal walk does, one component at a
time with O_PATH|O_NOFOLLOW descriptors. Law: a path of an image, an archive or a context is opened here or not at all.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from trimaran.linux import syscalls

MAX_LINKS = 40
_PATH_FOLDER = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_openat2_works: bool | None = None


def openat2_works() -> bool:
    """Whether the kernel (and its seccomp filter) lets us use openat2; asked once."""
    global _openat2_works  # noqa: PLW0603 - a fact about the running kernel
    if _openat2_works is None:
        try:
            os.close(syscalls.openat2(syscalls.AT_FDCWD, "/", os.O_PATH, 0, syscalls.RESOLVE_IN_ROOT))
            _openat2_works = True
        except OSError:
            _openat2_works = False
    return _openat2_works


def open_in_root(root: int, path: str | bytes, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open `path` as if `root` were `/`: symlinks are followed inside it, `..` stops at it. Close-on-exec.

    Raises the OSError of the walk; ELOOP for a magic link (`/proc/*/fd/N` and the like) or a ring of symlinks.
    """
    if openat2_works():
        return _retried(root, path, flags, mode, syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS)
    return walk_in_root(root, path, flags, mode)


def open_beneath(root: int, path: str | bytes, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open `path` under `root` where no component, the last included, may be a symlink (ELOOP) or leave it (EXDEV)."""
    relative = os.fsencode(path).lstrip(b"/") or b"."
    if openat2_works():
        return _retried(root, relative, flags, mode, syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS)
    return walk_beneath(root, relative, flags, mode)


def _retried(root: int, path: str | bytes, flags: int, mode: int, resolve: int) -> int:
    """openat2 answers EAGAIN when a rename raced with a `..`; asking again is what its manual page says to do."""
    for _ in range(128):
        try:
            return syscalls.openat2(root, path or b".", flags, mode if flags & os.O_CREAT else 0, resolve)
        except BlockingIOError:
            continue
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), os.fsdecode(path))


def _error(number: int, path: str | bytes) -> OSError:
    return OSError(number, os.strerror(number), os.fsdecode(path))


def walk_beneath(root: int, path: str | bytes, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """`open_beneath` without openat2."""
    parts = [part for part in os.fsencode(path).split(b"/") if part not in {b"", b"."}]
    if b".." in parts:
        raise _error(errno.EXDEV, path)
    folder = os.dup(root)
    try:
        for part in parts[:-1]:
            folder = _step(folder, os.open(part, _PATH_FOLDER | os.O_DIRECTORY, dir_fd=folder))
        last = parts[-1] if parts else b"."
        fd = os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
        if flags & os.O_PATH and stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            raise _error(errno.ELOOP, path)
        return fd
    finally:
        os.close(folder)


def _step(old: int, new: int) -> int:
    os.close(old)
    return new


def _device_is_proc(fd: int) -> bool:
    """Whether a descriptor lies on the machine's procfs, the only place with magic links."""
    return os.fstat(fd).st_dev == os.stat("/proc").st_dev


def walk_in_root(root: int, path: str | bytes, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """`open_in_root` without openat2.

    `..` goes back to a descriptor we hold, never through the file system, so a folder moved meanwhile cannot lead out.
    """
    pending = [part for part in reversed(os.fsencode(path).split(b"/")) if part not in {b"", b"."}]
    trail = [os.dup(root)]
    links = 0
    wants_folder = os.fsencode(path).endswith((b"/", b"/."))
    try:
        while pending:
            part = pending.pop()
            if part == b"..":
                if len(trail) > 1:
                    os.close(trail.pop())
                continue
            last = not pending
            if last and not (target := _link(trail[-1], part, flags)):
                return _open_last(trail[-1], part, flags | (os.O_DIRECTORY if wants_folder else 0), mode)
            if not last:
                target = _link(trail[-1], part, 0)
            if target:
                links += 1
                if links > MAX_LINKS:
                    raise _error(errno.ELOOP, path)
                if target.startswith(b"/"):
                    while len(trail) > 1:
                        os.close(trail.pop())
                pending.extend(p for p in reversed(target.split(b"/")) if p not in {b"", b"."})
                continue
            trail.append(os.open(part, _PATH_FOLDER | os.O_DIRECTORY, dir_fd=trail[-1]))
        return os.open(b".", (flags & ~(os.O_CREAT | os.O_EXCL)) | os.O_CLOEXEC, dir_fd=trail[-1])
    finally:
        for fd in trail:
            os.close(fd)


def _open_last(folder: int, name: bytes, flags: int, mode: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)


def _link(folder: int, name: bytes, flags: int) -> bytes | None:
    """The target of the symlink `name`, or None when it is none (or must not be followed: O_NOFOLLOW, O_EXCL)."""
    if flags & os.O_NOFOLLOW or (flags & os.O_CREAT and flags & os.O_EXCL):
        return None
    try:
        target = os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT}:
            return None
        raise
    if _device_is_proc(folder):
        raise _error(errno.ELOOP, name)
    return target


def open_regular(path: str, folder: int | None = None) -> int:
    """A regular file to read, links followed; OSError for anything else, which is not opened.

    So no pipe is waited for and no device notices. For places whose bytes are checked whatever they are.
    """
    found = os.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)


def make_folders(root: int, path: str | bytes, mode: int = 0o755, owner: tuple[int, int] | None = None) -> list[str]:
    """Make `path` and its missing parents inside `root`, following symlinks inside it; the paths made, parents first.

    New folders get `mode` whatever the umask is, and `owner` (user, group) when given. NotADirectoryError where a
    component is something else; FileNotFoundError never.
    """
    made: list[str] = []
    parts = [part for part in os.fsencode(path).split(b"/") if part not in {b"", b"."}]
    for count in range(1, len(parts) + 1):
        prefix = b"/".join(parts[:count])
        try:
            os.close(open_in_root(root, prefix, os.O_PATH | os.O_DIRECTORY))
        except FileNotFoundError:
            _make_folder(root, prefix, mode, owner)
            made.append(os.fsdecode(prefix))
    return made


def _make_folder(root: int, path: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    parent_path, _, name = path.rpartition(b"/")
    parent = open_in_root(root, parent_path or b".", os.O_PATH | os.O_DIRECTORY)
    try:
        try:
            target = os.readlink(name, dir_fd=parent)
        except OSError:
            target = b""
        if target:  # a dangling link: its target is what is missing
            joined = target if target.startswith(b"/") else parent_path + b"/" + target
            make_folders(root, joined, mode, owner)
            return
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return  # made by somebody else meanwhile
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if owner is not None:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
    finally:
        os.close(parent)


def real_place(root: int, path: str) -> str:
    """Where `path` leads inside the root, as a relative path without symlinks; what is missing is taken literally.

    A name, not an access: what lies there may change before it is opened. OSError (ELOOP) for a ring of symlinks.
    """
    pending = [part for part in path.split("/") if part not in {"", "."}][::-1]
    at: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            at = at[:-1]
            continue
        target = _target(root, "/".join(at), part)
        if target is None:
            at.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise _error(errno.ELOOP, path)
        at = [] if target.startswith("/") else at
        pending += [word for word in target.split("/") if word not in {"", "."}][::-1]
    return "/".join(at)


def _target(root: int, folder_path: str, name: str) -> str | None:
    with suppress(OSError):
        folder = open_beneath(root, folder_path or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            return os.readlink(name, dir_fd=folder)
        finally:
            os.close(folder)
    return None
