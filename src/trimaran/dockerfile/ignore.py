"""`.dockerignore`: which patterns a file gives, and which of its lines keeps a path out of the context."""

from __future__ import annotations

import msgspec

from trimaran.dockerfile.lines import BOM, SPACE
from trimaran.patterns import GlobError, PatternMatcher, clean


class IgnoreLine(msgspec.Struct, frozen=True):
    pattern: str
    line: int


class IgnoreFile(msgspec.Struct, frozen=True):
    """`filename` is shown in errors; no lines: nothing is left out."""

    filename: str = ".dockerignore"
    source: bytes = b""
    lines: tuple[IgnoreLine, ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        return tuple(line.pattern for line in self.lines)


def read_ignore(data: bytes, filename: str = ".dockerignore") -> IgnoreFile:
    """moby's rules: `#` in the first column is a comment, blanks are trimmed, a `/` in front goes."""
    lines: list[IgnoreLine] = []
    for number, line in enumerate(data.removeprefix(BOM).decode("utf-8", "surrogateescape").split("\n"), 1):
        pattern = line if not line.startswith("#") else ""
        pattern = pattern.strip(SPACE)
        if not pattern:
            continue
        inverted = pattern.startswith("!")
        if inverted:
            pattern = pattern[1:].strip(SPACE)
        if pattern:
            pattern = clean(pattern)
            if len(pattern) > 1 and pattern.startswith("/"):
                pattern = pattern[1:]
        lines.append(IgnoreLine("!" + pattern if inverted else pattern, number))
    return IgnoreFile(filename, data, tuple(lines))


def check_ignore(file: IgnoreFile) -> None:
    """GlobError, with the line where it stands, for a pattern that is none."""
    from trimaran.errors import Location, Position, Range

    for line in file.lines:
        try:
            PatternMatcher((line.pattern,))
        except GlobError as error:
            place = Range(Position(line.line), Position(line.line))
            error.where = Location(file.filename, file.source, (place,), language="dockerignore")
            raise
