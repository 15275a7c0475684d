"""Holding still all that steps run, for as long as it takes to make room for them on the disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from trimaran.errors import Cancelled
from trimaran.executor.process import children, started

_PASSES = 10
_HELD = frozenset({b"T", b"t", b"Z", b"X"})


@contextmanager
def halted() -> Iterator[None]:
    """Whatever was started here, but for the runtimes themselves, is stopped while this lasts: it writes nothing.

    What had stopped itself stays so afterwards. After an error nothing goes on: who fails for want of room kills it.
    """
    held: set[int] = set()
    try:
        _hold(held)
        yield
    except Cancelled:
        _release(held)
        raise
    _release(held)


def _hold(held: set[int]) -> None:
    """Until a look finds nobody new: who is not stopped yet may have made another."""
    for _ in range(_PASSES):
        table = children()
        pending = list(started())
        found = False
        while pending:
            for pid in table.get(pending.pop(), ()):
                pending.append(pid)
                if pid not in held and _runs(pid):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGSTOP)
                        held.add(pid)
                        found = True
        if not found:
            return


def _release(held: set[int]) -> None:
    for pid in held:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGCONT)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in _HELD
    except OSError:
        return False
