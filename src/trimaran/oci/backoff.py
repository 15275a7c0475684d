"""Trying again: which errors, how often, after how long."""

from __future__ import annotations

import os
import time

from trimaran.errors import Unavailable

#: Tries of one operation, the first included; together with `CEILING` about half a minute of patience.
ATTEMPTS = 6
BASE = 0.2
CEILING = 15.0
#: The longest `Retry-After` that is obeyed; a server that asks for more is reported instead.
PATIENCE = 120.0


class Transient(Unavailable):
    """An Unavailable that says more: `retry_after` seconds by the server's own word, tries it is worth in all, and
    whether trying again makes sense at all (not so when that has been done already)."""

    retry_after: float | None = None
    attempts = ATTEMPTS
    retryable = True


class Budget:
    """What one operation may spend on tries: a count, and seconds over all its waiting."""

    __slots__ = ("_deadline", "_used")

    def __init__(self, seconds: float = 180.0) -> None:
        self._used = 0
        self._deadline = time.monotonic() + seconds

    async def wait(self, error: Unavailable) -> None:
        """Wait until the next try; raises `error` when there is none left or the server asks for too long a wait.

        An error raised from here is marked, so that who calls the operation does not try it all over again.
        """
        import asyncio

        known = error if isinstance(error, Transient) else Transient("")
        self._used += 1
        pause = delay(self._used, known.retry_after)
        if (
            self._used >= known.attempts
            or not known.retryable
            or pause > PATIENCE
            or time.monotonic() + pause > self._deadline
        ):
            known.retryable = False
            raise error
        await asyncio.sleep(pause)

    def renew(self) -> None:
        """Progress was made (bytes came): the count starts anew, the deadline stays."""
        self._used = 0


def delay(attempt: int, retry_after: float | None = None, *, random_share: float | None = None) -> float:
    """Seconds before try number `attempt + 1` (from 1): doubling with full jitter in its upper half.

    What the server asked for (`Retry-After`) wins, with up to a tenth on top so that clients don't come back at once.
    """
    share = int.from_bytes(os.urandom(2)) / (1 << 16) if random_share is None else random_share
    if retry_after is not None:
        return retry_after * (1 + share / 10)
    full = min(CEILING, BASE * 2 ** (attempt - 1))
    return float(full / 2 + share * full / 2)
