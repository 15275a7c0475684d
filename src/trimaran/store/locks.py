"""Locks between processes: one flock'd file per name, gone with its process, polled from the loop.

Law: a lock file may be unlinked only by who holds it; whoever locks checks that the path still names what it locked.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from trimaran.aio import Cancel

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


def try_lock(path: str, *, create: bool = True) -> int | None:
    """The descriptor that holds the exclusive lock of `path`, or None when another holder lives.

    With `create` false, FileNotFoundError when the file is not there.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    while True:
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        if _is_at(fd, path):
            return fd
        os.close(fd)


def _is_at(fd: int, path: str) -> bool:
    """Whether `path` still names the file that was locked: its last holder may have unlinked it meanwhile."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def release(fd: int, path: str) -> None:
    """Give the lock back and remove its file, so that files do not pile up."""
    with suppress(OSError):
        os.unlink(path)
    os.close(fd)


def sweep(folder: str) -> None:
    """Remove the lock files of processes that died with them. Who wants one of them meanwhile waits that moment."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with suppress(OSError):
            fd = try_lock(path, create=False)
            if fd is not None:
                release(fd, path)


@asynccontextmanager
async def locked(path: str) -> AsyncIterator[None]:
    """Hold the lock of `path`; waiting is done by the loop and costs no thread."""
    pause = _FIRST_PAUSE
    while (fd := try_lock(path)) is None:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    try:
        yield
    finally:
        release(fd, path)


@contextmanager
def locked_in_thread(cancel: Cancel, path: str) -> Iterator[None]:
    """`locked` for disk functions."""
    while (fd := try_lock(path)) is None:
        cancel.check()
        time.sleep(_LONGEST_PAUSE / 5)
    try:
        yield
    finally:
        release(fd, path)


@contextmanager
def guarded(path: str, *, exclusive: bool) -> Iterator[None]:
    """Hold a lock that many may share or one may have, for a moment. The file stays. Blocks: for disk functions."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)
