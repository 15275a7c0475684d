"""The lines of a source file an error is about, marked (reference §3.10). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.errors import Location

_RULE = "--------------------\n"


def snippet(where: Location) -> str:
    """`FILE:LINE`, a rule, numbered lines with `>>>` at those meant and a few around, a rule; "" without a range.

    A part of a line that is meant is underlined with `^`, which BuildKit does not do: its places are whole lines.
    """
    if not where.ranges:
        return ""
    lines = where.source.removeprefix(b"\xef\xbb\xbf").split(b"\n")
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
        shown += [f"     |     {line}\n" for line in _underlines(where, number, text)]
    return f"{where.filename}:{first}\n{_RULE}{''.join(shown)}{_RULE}"


def _underlines(where: Location, number: int, text: str) -> Iterator[str]:
    for place in where.ranges:
        start, end = place.start.character, min(place.end.character, len(text))
        is_part = text[start:end].strip() != text.strip()
        if place.start.line == place.end.line == number and start < end and is_part:
            blank = "".join("\t" if character == "\t" else " " for character in text[:start])
            yield blank + "^" * (end - start)
