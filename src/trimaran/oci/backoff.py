"""How long to wait before the same request is tried again: pure, the waiting is done by who asks."""

from __future__ import annotations

import random

#: Tries of one operation, the first included; together with `CEILING` about half a minute of patience.
ATTEMPTS = 6
BASE = 0.2
CEILING = 15.0
#: The longest `Retry-After` that is obeyed; a server that asks for more is reported instead.
PATIENCE = 120.0


def delay(attempt: int, retry_after: float | None = None, *, random_share: float | None = None) -> float:
    """Seconds before try number `attempt + 1` (from 1): doubling with full jitter in its upper half.

    What the server asked for (`Retry-After`) wins, with up to a tenth on top so that clients don't come back at once.
    """
    share = random.random() if random_share is None else random_share  # noqa: S311 - jitter, no secret
    if retry_after is not None:
        return retry_after * (1 + share / 10)
    full = min(CEILING, BASE * 2 ** (attempt - 1))
    return float(full / 2 + share * full / 2)
