"""Where an archive goes: standard output, or a file that only appears whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from trimaran.errors import Denied, UsageError
from trimaran.exporters.options import STDOUT


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
    temporary = f"{destination}.{os.getpid()}.part"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise Denied(f"write {destination}: {(error.strerror or '').lower()}", hint="check the folder") from error
    try:
        yield fd
        os.fsync(fd)
        os.rename(temporary, destination)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def _opened(destination: str) -> Iterator[int]:
    """A device or pipe is written as it is."""
    fd = os.open(destination, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
