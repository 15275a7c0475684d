"""Holding still all that steps run, for as long as it takes to make room for them on the disk."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from trimaran.errors import Cancelled
from trimaran.executor.process import children, started

_PASSES = 10
_PAUSE, _LONGEST = 0.001, 0.2
"""Seconds between two looks whether they have stopped, and for which all of them together are waited for: a process
first ends what it has asked the kernel for, such as a write."""
_HELD = frozenset({b"T", b"t", b"Z", b"X"})


@contextmanager
def halted() -> Iterator[None]:
    """Whatever was started here, but for the runtimes themselves, is stopped while this lasts: it writes nothing.

    What had stopped itself stays so afterwards. After an error nothing goes on: who fails for want of room kills it.
    """
    held: dict[int, None] = {}
    try:
        _hold(held)
        yield
    except Cancelled:
        _release(held)
        raise
    _release(held)


def _hold(held: dict[int, None]) -> None:
    """Until a look finds nobody new: who is not stopped yet may have made another, or let one go on that was.

    Children are stopped when their parents are: a shell that minds its jobs is to see none of them stopped.
    """
    until = time.monotonic() + _LONGEST
    for _ in range(_PASSES):
        table = children()
        generation = list(started())
        found = False
        while generation:
            generation = [pid for parent in generation for pid in table.get(parent, ())]
            running = [pid for pid in generation if _runs(pid)]
            for pid in running:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGSTOP)
                    found = found or pid not in held
                    held[pid] = None
            while any(map(_runs, running)) and time.monotonic() < until:
                time.sleep(_PAUSE)
        if not found:
            return


def _release(held: dict[int, None]) -> None:
    for pid in reversed(held):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGCONT)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in _HELD
    except OSError:
        return False
