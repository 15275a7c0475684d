"""Content digests of what steps wrote and nobody read: found while the build's folders are made durable.

With them `fsck` can tell a changed bit in a folder from what the step wrote. An export or a COPY finds them on its way;
what is left are stages that only gave some of their files, and builds without an image.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

from trimaran import aio
from trimaran.errors import TrimaranError
from trimaran.solver.protocols import ResultGone
from trimaran.store.entries import FILE
from trimaran.store.layers import LayerId, Layers

_AT_LEAST = 0.05
"""Seconds a build may take longer for it, however short it was."""
_SHARE = 0.02
"""Of the time the build has taken: so much longer it may take."""


async def hash_meanwhile(
    layers: Layers, made: Iterable[LayerId], work: Coroutine[Any, Any, None], *, since: float
) -> None:
    """Do `work`, and hash the files of `made` as long as it lasts, and a little longer (`since`: monotonic seconds).

    What there is no time for has no digest until `fsck` or somebody else reads it.
    """
    async with aio.TaskGroup() as group:
        hashing = group.start(_hash(layers, made))
        await work
        more = max(_AT_LEAST, _SHARE * (time.monotonic() - since))
        with suppress(TimeoutError):
            await asyncio.wait_for(hashing, more)


async def _hash(layers: Layers, made: Iterable[LayerId]) -> None:
    for layer in made:
        with suppress(TrimaranError, ResultGone, OSError):  # damage is told by whoever needs the bytes
            entries = await layers.entries(layer)
            unknown = [entry.path for entry in entries if entry.kind == FILE and not entry.digest]
            if unknown:
                await layers.digests(layer, unknown)
