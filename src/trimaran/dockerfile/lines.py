"""From a Dockerfile's bytes to logical lines: continuation joined, comments dropped, and the way back to the source.

Law: `LogicalLine.range` of any part of a logical line gives the place in the file that this part was read from.
Source: BuildKit's parser (reference §3.1). A physical line has at most 65535 bytes.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from trimaran.dockerfile.problems import DockerfileError
from trimaran.errors import Location, Position, Range

MAX_LINE = 65535
# unicode.IsSpace of Go; Python's own set has more (the separators 1c to 1f).
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
BOM = b"\xef\xbb\xbf"
DIRECTIVES = ("syntax", "escape", "check")


class Fragment(msgspec.Struct, frozen=True):
    """From `offset` of a logical line on, characters come from `line` (1-based), starting at its `column` (0-based)."""

    offset: int
    line: int
    column: int


class Directive(msgspec.Struct, frozen=True):
    name: str
    value: str
    range: Range


class LogicalLine(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    fragments: tuple[Fragment, ...]
    start: int
    """First and last physical line, from 1."""
    end: int
    comments: tuple[str, ...] = ()
    """The comment lines above, up to the instruction before, without their `#`."""
    empty_continuation: bool = False

    def position(self, offset: int) -> Position:
        index = bisect_right(self.fragments, offset, key=lambda fragment: fragment.offset) - 1
        fragment = self.fragments[max(index, 0)]
        return Position(fragment.line, fragment.column + offset - fragment.offset)

    def range(self, start: int, end: int) -> Range:
        """The source of `text[start:end]`; the end is exclusive but on the line of its last character."""
        if end <= start:
            return Range(self.position(start), self.position(start))
        last = self.position(end - 1)
        return Range(self.position(start), Position(last.line, last.character + 1))

    @property
    def whole(self) -> Range:
        """Whole lines, as BuildKit names the place of an instruction."""
        return Range(Position(self.start), Position(self.end))


class LineReader:
    """Walks through a Dockerfile. `escape` is known once the reader is made."""

    def __init__(self, data: bytes, filename: str = "Dockerfile") -> None:
        self.filename = filename
        self.source = data
        text = data.removeprefix(BOM).decode("utf-8", "surrogateescape")
        self.lines = text.split("\n")
        if self.lines[-1] == "":
            self.lines.pop()
        self.index = 0
        self.escape = "\\"
        self.directives = self._read_directives()
        self._directive_lines = {directive.range.start.line for directive in self.directives}

    def location(self, *ranges: Range) -> Location:
        return Location(self.filename, self.source, ranges)

    def error(self, cause: str, start: int, end: int = 0, *, hint: str = "") -> DockerfileError:
        """About whole physical lines."""
        return DockerfileError(cause, hint=hint, where=self.location(Range(Position(start), Position(max(start, end)))))

    def next_physical(self) -> str | None:
        """The next line without its line end; None after the last."""
        if self.index >= len(self.lines):
            return None
        line = self.lines[self.index]
        self.index += 1
        if len(line) > MAX_LINE // 4 and len(line.encode("utf-8", "surrogateescape")) > MAX_LINE:
            raise self.error(f"dockerfile line greater than max allowed size of {MAX_LINE}", self.index)
        return line

    def next_logical(self) -> LogicalLine | None:
        """The next line that is neither blank nor a comment, joined with its continuations; None at the end."""
        comments: list[str] = []
        while (line := self.next_physical()) is not None:
            stripped = line.rstrip("\r\n").lstrip(SPACE)
            if stripped.startswith("#"):
                if self.index not in self._directive_lines:
                    comments.append(stripped[1:].strip(SPACE))
                continue
            text, ended = self._without_continuation(stripped)
            if ended and not text:
                continue
            column = len(line) - len(line.lstrip(SPACE))
            return self._joined(text, column, tuple(comments), ended=ended)
        return None

    def _joined(self, first: str, column: int, comments: tuple[str, ...], *, ended: bool) -> LogicalLine:
        start = self.index
        parts, fragments, length, blank = [first], [Fragment(0, start, column)], len(first), False
        while not ended and (line := self.next_physical()) is not None:
            line = line.rstrip("\r\n")
            bare = line.lstrip(SPACE)
            if bare.startswith("#"):
                continue
            if not bare:
                blank = True
                continue
            text, ended = self._without_continuation(line)
            fragments.append(Fragment(length, self.index, 0))
            parts.append(text)
            length += len(text)
        return LogicalLine(
            text="".join(parts),
            fragments=tuple(fragments),
            start=start,
            end=self.index,
            comments=comments,
            empty_continuation=blank,
        )

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        """The line without a continuation mark, and whether it ends there. A doubled mark is no continuation."""
        bare = line.rstrip(" \t")
        if bare.endswith(self.escape) and (len(bare) == 1 or bare[-2] != self.escape):
            return bare[:-1], False
        return line, True

    def _read_directives(self) -> tuple[Directive, ...]:
        found: dict[str, Directive] = {}
        # a shebang hides `escape`, as it does from BuildKit; `find_directive` looks over it
        for number, line in enumerate(self.lines[:64], 1):
            parsed = parse_directive(line.rstrip("\r\n").lstrip(SPACE), "#")
            if parsed is None or parsed[0] not in DIRECTIVES:
                break
            name, value = parsed
            if name in found:
                raise self.error(f"only one {name} parser directive can be used", number)
            found[name] = Directive(name, value, Range(Position(number), Position(number)))
            if name == "escape":
                if value not in ("\\", "`"):
                    raise self.error(f"invalid escape token '{value}' does not match ` or \\", number)
                self.escape = value
        return tuple(found.values())


def parse_directive(line: str, mark: str) -> tuple[str, str] | None:
    """Lower-cased name and value of `# name = value`; None when the line is not of that form."""
    if not line.startswith(mark):
        return None
    name, equals, value = line[len(mark) :].partition("=")
    name, value = name.strip(SPACE).lower(), value.strip(SPACE)
    if not equals or not value or not name.isascii() or not name.isalnum() or not name[0].isalpha():
        return None
    return name, value


def find_directive(data: bytes, name: str) -> Directive | None:
    """A directive of a file that need not be a Dockerfile: in `#`, and for syntax also in `//` or JSON form.

    A file whose first line is a JSON object is read as one whole; other forms are not looked for then.
    """
    text = data.removeprefix(BOM).decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    first = 1 if lines[0].startswith("#!") else 0
    for mark in ("#", "//") if name == "syntax" else ("#",):
        for number, line in enumerate(lines[first:64], first + 1):
            parsed = parse_directive(line.rstrip("\r\n").lstrip(SPACE), mark)
            if parsed is None or (mark == "#" and parsed[0] not in DIRECTIVES):
                break
            if parsed[0] == name:
                return Directive(name, parsed[1], Range(Position(number), Position(number)))
    if name == "syntax" and text.lstrip(SPACE).startswith("{"):
        value = _json_syntax(text)
        if value:
            return Directive(name, value, Range(Position(1), Position(1)))
    return None


class _SyntaxDocument(msgspec.Struct):
    syntax: str = ""


def _json_syntax(text: str) -> str:
    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogateescape"), type=_SyntaxDocument).syntax
    except (msgspec.DecodeError, RecursionError):
        return ""
