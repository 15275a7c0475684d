"""Where an archive goes: standard output, or a file that only appears whole."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from trimaran.errors import Denied, UsageError
from trimaran.exporters.options import STDOUT

_MODE = 0o664
"""Less the umask; whatever that is, what is written is not everybody's to change."""


@contextmanager
def output_file(destination: str) -> Iterator[int]:
    """A file descriptor to write to. A file is renamed into place on success, and removed on any failure."""
    if destination == STDOUT:
        if os.isatty(1):
            raise UsageError("write an archive to the terminal: refused", hint="add dest=FILE, or redirect the output")
        sys.stdout.flush()
        yield 1
        return
    if not destination:
        raise UsageError("write an archive: no destination", hint="add dest=FILE, or dest=- for standard output")
    if os.path.isdir(destination):
        raise UsageError(f"write {destination}: it is a folder", hint="name a file: dest=FOLDER/image.tar")
    if os.path.exists(destination) and not os.path.isfile(destination):
        yield from _opened(destination)
        return
    with _replaced(destination) as fd:
        yield fd


@contextmanager
def _replaced(destination: str) -> Iterator[int]:
    """A file without a name, where the file system has such: when we are killed, the kernel takes it away."""
    folder, _, name = os.path.abspath(destination).rpartition("/")
    # Not our process id: in the engine's namespace that is always 1.
    temporary = f".{name[:200]}.{os.urandom(4).hex()}.part"
    with ExitStack() as stack:
        try:
            where = os.open(folder or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, where)
            nameless = _nameless(where)
            fd = _named(where, temporary) if nameless is None else nameless
        except OSError as error:
            raise Denied(f"write {destination}: {(error.strerror or '').lower()}", hint="check the folder") from error
        stack.callback(os.close, fd)
        try:
            yield fd
            # First the bytes, then the name: after a crash nobody takes half an archive for a whole one.
            os.fsync(fd)
            if nameless is not None:
                # The folder's descriptor also makes Python use linkat(2), which alone can follow the link.
                os.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=where, follow_symlinks=True)
            os.rename(temporary, name, src_dir_fd=where, dst_dir_fd=where)
            with suppress(OSError):  # FUSE and some network file systems know no fsync of folders
                os.fsync(where)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=where)
            raise


def _named(where: int, name: str) -> int:
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE, dir_fd=where)


def _nameless(where: int) -> int | None:
    """open(2) O_TMPFILE; None on file systems that have it not (overlay, NFS, FUSE)."""
    try:
        return os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, _MODE, dir_fd=where)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise


def _opened(destination: str) -> Iterator[int]:
    """A device or pipe is written as it is."""
    fd = os.open(destination, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
