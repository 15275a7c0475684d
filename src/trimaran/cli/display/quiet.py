"""`--progress quiet` and `none`: no progress at all; warnings and failures are still remembered for who asks."""

from __future__ import annotations

from collections.abc import Iterable

from trimaran.cli.display.trace import Trace
from trimaran.events import Event


class Quiet:
    __slots__ = ("trace",)

    def __init__(self) -> None:
        self.trace = Trace()

    def update(self, events: Iterable[Event], now: int) -> str:
        del now
        self.trace.apply(events)
        for vertex in self.trace.changed:
            vertex.lines.clear()
        self.trace.changed.clear()
        return ""

    def finish(self, now: int) -> str:
        return self.update((), now)
