"""Where in a Python program a vertex was written down: what an error of its step points to."""

from __future__ import annotations

import sys
from types import FrameType

from trimaran.errors import Location, Position, Range

_OWN = "trimaran.graph."
_LANGUAGE = "Python"


def caller() -> Location | None:
    """The nearest line outside this package; None where its source cannot be read (a prompt, a compiled program)."""
    import linecache

    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the module `inspect` costs 10 ms
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OWN):
        frame = frame.f_back
    if frame is None:
        return None
    filename, line = frame.f_code.co_filename, frame.f_lineno
    lines = linecache.getlines(filename, frame.f_globals)
    if not lines:
        return None
    place = Range(Position(line), Position(line))
    return Location(filename, "".join(lines).encode("utf-8", "replace"), (place,), _LANGUAGE)
