"""Requests that may be made twice are tried again (delays and limits are `oci.backoff`'s)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from trimaran.errors import Unavailable
from trimaran.oci.backoff import Budget

T = TypeVar("T")


async def retrying(operation: Callable[[], Awaitable[T]], budget: Budget | None = None) -> T:
    """`operation`'s result, tried again while it raises Unavailable. Only for what may be done twice."""
    budget = budget or Budget()
    while True:
        try:
            return await operation()
        except Unavailable as error:
            await budget.wait(error)
