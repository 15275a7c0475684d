"""Lines of a file an error is about."""

from __future__ import annotations

from trimaran.errors import Location, Position, Range
from trimaran.snippet import snippet

SOURCE = b"FROM a\n\tCOPY --x=1 b /\r\nRUN c \\\n  d\n"


def shown(*ranges: Range, source: bytes = SOURCE) -> list[str]:
    return snippet(Location("Dockerfile", source, ranges)).splitlines()[2:-1]


def test_whole_lines_are_marked_as_buildkit_marks_them() -> None:
    assert shown(Range(Position(2), Position(2))) == [
        "   1 |     FROM a",
        "   2 | >>> \tCOPY --x=1 b /",
        "   3 |     RUN c \\",
        "   4 |       d",
    ]


def test_a_part_of_a_line_is_underlined_below_itself() -> None:
    lines = shown(Range(Position(2, 6), Position(2, 11)))
    assert lines[1:3] == ["   2 | >>> \tCOPY --x=1 b /", "     |     \t     ^^^^^"]
    assert len(shown(Range(Position(2, 1), Position(2, 15)))) == 4, "all of it needs no line"


def test_places_outside_of_the_file_show_what_there_is() -> None:
    assert len(shown(Range(Position(4, 2), Position(4, 900)))) == 4
    assert snippet(Location("Dockerfile", SOURCE, (Range(Position(9), Position(9)),))) == ""
    assert snippet(Location("Dockerfile", SOURCE, ())) == ""


def test_a_byte_order_mark_moves_nothing() -> None:
    lines = shown(Range(Position(1, 5), Position(1, 6)), source=b"\xef\xbb\xbfFROM a\n")
    assert lines[0:2] == ["   1 | >>> FROM a", "     |          ^"]
