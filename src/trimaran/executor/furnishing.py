"""What a root without mounts needs for a step, put into it before and taken out again after: devices and two files.

Law: every look goes through descriptors inside the rootfs and follows nothing that the step may have put there. What
was there before is left, or put back with its content and times, so that the layer does not have it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from trimaran.errors import Unsupported
from trimaran.executor import network, stubs
from trimaran.executor.spec import ShownFile
from trimaran.linux import paths

_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LARGEST = 1 << 20


@contextmanager
def furnished(rootfs: str, *, hosts: str, files: Sequence[ShownFile] = ()) -> Iterator[None]:
    """/dev with the harmless devices and /dev/shm, this place's name servers, `hosts` as /etc/hosts, and `files`."""
    root = os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with ExitStack() as stack:
            stack.enter_context(_folder(root, "dev"))
            stack.enter_context(_folder(root, "etc"))
            stack.enter_context(_devices(root))
            stack.enter_context(_folder(root, "dev/shm", 0o1777))
            stack.enter_context(_file(root, "etc/hosts", hosts.encode()))
            stack.enter_context(_file(root, "etc/resolv.conf", network.machine_resolver(shared=True).encode()))
            for file in files:
                stack.enter_context(_file(root, file.path.strip("/"), file.content))
            yield
    finally:
        os.close(root)


@contextmanager
def _as_before(folder: int) -> Iterator[None]:
    """What is done to a folder in here leaves its times: what the step did to it shows, what we do does not."""
    before = os.fstat(folder)
    try:
        yield
    finally:
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextmanager
def _opened(root: int, path: str) -> Iterator[int]:
    fd = paths.open_beneath(root, path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _folder(root: int, path: str, mode: int = 0o755) -> Iterator[None]:
    """A folder that goes away again when it was missing, unless something of the step's is in it."""
    missing = stubs.absent(root, (path,))
    with _opened(root, path.rpartition("/")[0]) as above, _as_before(above):
        paths.make_folders(root, path, mode, (0, 0))
    try:
        yield
    finally:
        stubs.remove(root, missing)


@contextmanager
def _devices(root: int) -> Iterator[None]:
    made: list[str] = []
    with _opened(root, "dev") as folder:
        try:
            with _as_before(folder):
                for name, number in _DEVICES.items():
                    if _make_device(folder, name, number):
                        made.append(name)
            yield
        finally:
            with _as_before(folder):
                for name in made:
                    _remove_device(folder, name)


def _make_device(folder: int, name: str, number: tuple[int, int]) -> bool:
    """Whether it was missing."""
    try:
        os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(*number), dir_fd=folder)
    except FileExistsError:
        return False
    except OSError as error:
        raise Unsupported(
            f"run a process in a chroot: make /dev/{name}: {error.strerror}",
            hint="the store's file system has to allow devices: mount it without nodev, or set TRIMARAN_ROOT",
        ) from error
    os.chmod(name, 0o666, dir_fd=folder)  # noqa: S103 - whatever the umask is
    return True


def _remove_device(folder: int, name: str) -> None:
    with suppress(OSError):
        if stat.S_ISCHR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=folder)


@contextmanager
def _file(root: int, path: str, content: bytes) -> Iterator[None]:
    """The file with other content meanwhile: what the step makes of it is dropped, as with a mount."""
    above, _, name = paths.real_place(root, path).rpartition("/")
    with _opened(root, above) as folder:
        with _as_before(folder):
            kept = _exchange(folder, name, content)
        try:
            yield
        finally:
            with _as_before(folder):
                _put_back(folder, name, kept)


def _exchange(folder: int, name: str, content: bytes) -> tuple[bytes, os.stat_result] | None:
    """Write `content`; what was there before, None when nothing was."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.write(content)
        return None
    with os.fdopen(fd, "r+b") as file:
        status = os.fstat(fd)
        old = file.read(_LARGEST)
        file.seek(0)
        file.truncate()
        file.write(content)
    return old, status


def _put_back(folder: int, name: str, kept: tuple[bytes, os.stat_result] | None) -> None:
    with suppress(OSError):
        if kept is None:
            os.unlink(name, dir_fd=folder)
            return
    if kept is None:
        return
    content, status = kept
    with suppress(FileNotFoundError, IsADirectoryError):
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if (now.st_ino, stat.S_IFMT(now.st_mode)) != (status.st_ino, stat.S_IFMT(status.st_mode)):
            os.unlink(name, dir_fd=folder)
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
