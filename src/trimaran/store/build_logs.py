"""The folders of builds in the store, as things that take room: how old they are, and taking away what is over.

What is in them is the engine's (`engine/history.py`). A running build holds a lock on its `events.jsonl`.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress

from trimaran.aio import Cancel
from trimaran.store.removal import disk_usage

_SKEW = 2.0
"""Seconds that a time may lie ahead without the clock being wrong."""


def by_age(folder: str, now: float) -> list[tuple[float, str]]:
    """When each build ended (seconds since the epoch) and its path, the newest first.

    A time in the future is of a clock that went wrong: such a build counts as one of now, and ages from here on.
    """
    aged: list[tuple[float, str]] = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        with suppress(FileNotFoundError):  # another build was quicker
            changed = os.stat(path).st_mtime
            if changed > now + _SKEW:
                os.utime(path, (now, now))
            aged.append((min(changed, now), path))
    return sorted(aged, reverse=True)


def remove(path: str) -> bool:
    """Take a build's folder away, unless the build is running or somebody has put something of his own there."""
    if _is_running(path):
        return False
    try:
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)
    except OSError:
        return False
    return True


def trim(cancel: Cancel, folder: str, most: int) -> int:
    """Take the oldest away until all together have `most` bytes on disk at most; bytes freed."""
    sizes = [(path, disk_usage(cancel, path)) for _, path in by_age(folder, time.time())]
    over = sum(size for _, size in sizes) - most
    freed = 0
    for path, size in reversed(sizes):
        if freed >= over:
            break
        freed += size if remove(path) else 0
    return freed


def _is_running(path: str) -> bool:
    try:
        fd = os.open(f"{path}/events.jsonl", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
