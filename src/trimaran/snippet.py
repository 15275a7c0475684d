"""The lines of a source file an error is about, marked (reference §3.10). Pure."""

from __future__ import annotations

from trimaran.errors import Location

_RULE = "--------------------\n"


def snippet(where: Location) -> str:
    """`FILE:LINE`, a rule, numbered lines with `>>>` at those meant and a few around, a rule; "" without a range."""
    if not where.ranges:
        return ""
    lines = where.source.split(b"\n")
    first = max(min(place.start.line for place in where.ranges), 1)
    last = min(max(place.end.line for place in where.ranges), len(lines))
    if first > last:
        return ""
    marked = {n for place in where.ranges for n in range(place.start.line, max(place.end.line, place.start.line) + 1)}
    around = 2 if first == last else 1
    begin, end = max(first - around, 1), min(last + around, len(lines))
    shown = []
    for number in range(begin, end + 1):
        text = lines[number - 1].rstrip(b"\r").decode("utf-8", "replace")
        shown.append(f" {number:3d} | {'>>>' if number in marked else '   '} {text}\n")
    return f"{where.filename}:{first}\n{_RULE}{''.join(shown)}{_RULE}"
