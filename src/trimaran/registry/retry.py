"""Trying again: which errors, how often, how long (the delays are `oci.backoff`'s)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from trimaran.errors import Unavailable
from trimaran.oci import backoff

T = TypeVar("T")


class Budget:
    """What one operation may spend on tries: a count, and a deadline in seconds over all its waiting."""

    __slots__ = ("_attempts", "_deadline", "_used")

    def __init__(self, attempts: int = backoff.ATTEMPTS, seconds: float = 180.0) -> None:
        self._attempts = attempts
        self._used = 0
        self._deadline = time.monotonic() + seconds

    async def wait(self, error: Unavailable) -> None:
        """Wait until the next try; raises `error` when there is none left or the server asks for more than we have."""
        self._used += 1
        retry_after = getattr(error, "retry_after", None)
        if self._used >= self._attempts or not getattr(error, "retryable", True):
            raise error
        pause = backoff.delay(self._used, retry_after)
        if pause > backoff.PATIENCE or time.monotonic() + pause > self._deadline:
            raise error
        await asyncio.sleep(pause)

    def renew(self) -> None:
        """Progress was made (bytes came): the count starts anew, the deadline stays."""
        self._used = 0


async def retrying(operation: Callable[[], Awaitable[T]], budget: Budget | None = None) -> T:
    """`operation`'s result, tried again while it raises Unavailable. Only for what may be done twice."""
    budget = budget or Budget()
    while True:
        try:
            return await operation()
        except Unavailable as error:
            await budget.wait(error)
