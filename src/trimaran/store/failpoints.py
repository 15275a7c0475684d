"""Named places where tests stop the world: a build killed there must leave a store that works."""

from __future__ import annotations

from collections.abc import Callable

hook: Callable[[str], None] | None = None
"""Set by tests (in a process of their own); called with the name of the place that was reached."""


def reached(place: str) -> None:
    if hook is not None:
        hook(place)
