"""A Dockerfile's bytes to nodes: one per instruction, with its flags, arguments, heredocs and exact ranges.

Nothing is checked here that needs to know what the instruction means: that is `instructions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from trimaran.dockerfile.exec_form import parse_json
from trimaran.dockerfile.heredocs import Heredoc, HeredocMark, marks_in
from trimaran.dockerfile.lines import SPACE, Directive, LineReader, LogicalLine
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.words import ExpansionError
from trimaran.errors import Location, Position, Range
from trimaran.spelling import did_you_mean

_BLANK_RUN = re.compile(r"[\t\v\f\r ]+")
_WORD = re.compile(f"[^{SPACE}]+")
_NOT_STRINGS = "when using JSON array syntax, arrays must be comprised of strings only"


class Word(msgspec.Struct, frozen=True):
    """Text as given (quotes and escapes kept) and where it stands in the logical line."""

    text: str
    start: int
    end: int


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction. `arguments` depend on its form: see `_FORMS`."""

    name: str
    """As written; empty for a line of nothing but continuation marks."""
    line: LogicalLine
    filename: str
    source: bytes
    flags: tuple[Word, ...] = ()
    arguments: tuple[Word, ...] = ()
    legacy_pair: bool = False
    """ENV or LABEL in the form `name value`."""
    is_json: bool = False
    child: Node | None = None
    """The instruction of ONBUILD."""
    heredocs: tuple[Heredoc, ...] = ()
    end: int
    """Last physical line, heredocs included."""
    place: Location | None = None
    """Where it counts as standing, when that is not in its own text: a trigger stands at the FROM that brought it."""

    @property
    def keyword(self) -> str:
        return self.name.upper()

    @property
    def original(self) -> str:
        return self.line.text

    @property
    def code(self) -> str:
        """The instruction as one line of text."""
        return self.line.text.strip(SPACE)

    @property
    def comments(self) -> tuple[str, ...]:
        return self.line.comments

    @property
    def where(self) -> Location:
        """Its lines, whole."""
        if self.place is not None:
            return self.place
        start = self.line.whole.start
        return Location(self.filename, self.source, (Range(start, msgspec.structs.replace(start, line=self.end)),))

    def at(self, word: Word | None = None) -> Location:
        """Exactly where `word` stands; without one, where the instruction's text stands."""
        if self.place is not None:
            return self.place
        if word is None:
            text = self.line.text
            start, end = len(text) - len(text.lstrip(SPACE)), len(text.rstrip(SPACE))
        else:
            start, end = word.start, word.end
        return Location(self.filename, self.source, (self.line.range(start, end),))

    def flag(self, name: str) -> Word | None:
        """The first flag of that name, as it stands."""
        return next((word for word in self.flags if word.text[2:].partition("=")[0] == name), None)

    def error(self, cause: str, word: Word | None = None, *, hint: str = "") -> DockerfileError:
        return DockerfileError(cause, hint=hint, where=self.at(word))


class Document(msgspec.Struct, frozen=True, kw_only=True):
    filename: str
    source: bytes
    directives: tuple[Directive, ...]
    escape: str
    nodes: tuple[Node, ...]


def parse(data: bytes, filename: str = "Dockerfile") -> Document:
    """Read a whole file; DockerfileError at the first thing that cannot be read."""
    reader = LineReader(data, filename)
    nodes: list[Node] = []
    is_text = _is_utf8(data)
    while (line := reader.next_logical()) is not None:
        if not is_text and not _is_utf8(line.text.encode("utf-8", "surrogateescape")):
            raise reader.error("the instruction is not valid UTF-8", line.start, line.end, hint="save it as UTF-8")
        nodes.append(_with_heredocs(reader, _node(reader, line, 0)))
    if not nodes:
        raise reader.error("file with no instructions", max(reader.index, 1), hint="a Dockerfile begins with FROM")
    return Document(
        filename=filename, source=data, directives=reader.directives, escape=reader.escape, nodes=tuple(nodes)
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse_trigger(text: str, where: Location) -> Node:
    """One instruction of an image's ONBUILD list; errors are placed at `where`, the FROM that brought it."""
    try:
        document = parse(text.encode("utf-8", "surrogateescape"), "ONBUILD")
    except DockerfileError as error:
        raise DockerfileError(error.cause, where=where) from None
    if len(document.nodes) != 1:
        raise DockerfileError("onbuild trigger should be a single expression", where=where)
    return msgspec.structs.replace(document.nodes[0], place=where)


def _node(reader: LineReader, line: LogicalLine, offset: int) -> Node:
    text = line.text
    start = offset + len(text[offset:]) - len(text[offset:].lstrip(SPACE))
    end = len(text.rstrip(SPACE))
    gap = _BLANK_RUN.search(text, start, end)
    name = text[start : gap.start() if gap else end]
    base = Node(name=name, line=line, filename=reader.filename, source=reader.source, end=line.end)
    if gap is None:
        return base
    flags, rest = _flags(text, gap.end(), end)
    while rest < end and text[rest] in SPACE:
        rest += 1
    base = msgspec.structs.replace(base, flags=flags)
    form = _FORMS.get(name.lower())
    return form(reader, base, rest, end) if form else base


def _with_heredocs(reader: LineReader, node: Node) -> Node:
    if not _takes_heredocs(node) or "<<" not in node.line.text:
        return node
    try:
        marks = marks_in(node.line.text)
    except ExpansionError as error:
        raise node.error(error.message) from None
    docs = tuple(_body(reader, node, mark) for mark in marks)
    return msgspec.structs.replace(node, heredocs=docs, end=reader.index) if docs else node


def _takes_heredocs(node: Node) -> bool:
    if node.child is not None:
        return _takes_heredocs(node.child)
    return node.keyword in ("ADD", "COPY", "RUN") and not node.is_json


def _body(reader: LineReader, node: Node, mark: HeredocMark) -> Heredoc:
    start = reader.index + 1
    content: list[str] = []
    while (line := reader.next_physical()) is not None:
        candidate = line.rstrip("\r\n")
        if (candidate.lstrip("\t") if mark.chomp else candidate) == mark.name:
            return Heredoc(
                name=mark.name,
                content="".join(content),
                expand=mark.expand,
                chomp=mark.chomp,
                file_descriptor=mark.file_descriptor,
                range=Range(Position(start), Position(reader.index)),
            )
        content.append(line + "\n")
    near = did_you_mean(mark.name, {line.strip() for line in content} - {""}) if len(content) < 1000 else ""
    raise DockerfileError(
        "unterminated heredoc",
        hint=f"end it with a line {mark.name}" + (f" ({near})" if near.startswith("did") else ""),
        where=node.where,
    )


def _flags(text: str, start: int, end: int) -> tuple[tuple[Word, ...], int]:
    """The `--flag[=value]` words at the beginning, quotes taken away, and where the rest begins. `--` ends them."""
    flags: list[Word] = []
    position = start
    while True:
        while position < end and text[position] in SPACE:
            position += 1
        if not text.startswith("--", position, end):
            return tuple(flags), position
        word, after = _flag_word(text, position, end)
        if word == "--":
            return tuple(flags), after
        flags.append(Word(word, position, after))
        position = after


def _flag_word(text: str, position: int, end: int) -> tuple[str, int]:
    parts: list[str] = []
    quote = ""
    while position < end:
        character = text[position]
        if not quote and character in SPACE:
            break
        if quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == "\\":
            parts.append(text[position + 1 : min(position + 2, end)])
            position += 1
        else:
            parts.append(character)
        position += 1
    return "".join(parts), min(position, end)


def split_words(text: str, start: int, end: int, escape: str) -> list[Word]:
    """Words between spaces; quoted and escaped spaces belong to a word, and nothing is taken away."""
    part = text[start:end]
    if escape not in part and "'" not in part and '"' not in part:
        return [Word(match.group(), match.start(), match.end()) for match in _WORD.finditer(text, start, end)]
    words: list[Word] = []
    position = start
    while position < end:
        if text[position] in SPACE:
            position += 1
            continue
        begin, position, dropped = position, *_word_end(text, position, end, escape)
        words.append(Word(text[begin : position - dropped], begin, position))
    return words


def _word_end(text: str, position: int, end: int, escape: str) -> tuple[int, int]:
    """Where the word ends, and how many characters at its end do not count (an escape at the end of the line)."""
    quote = ""
    while position < end:
        character = text[position]
        if not quote and character in SPACE:
            break
        if character == escape and quote != "'":
            if position + 1 == end:
                return end, 1
            position += 2
            continue
        if quote == character:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        position += 1
    return min(position, end), 0


def _whole(_reader: LineReader, node: Node, start: int, end: int) -> Node:
    if start >= end:
        return node
    return msgspec.structs.replace(node, arguments=(Word(node.line.text[start:end], start, end),))


def _blank_separated(_reader: LineReader, node: Node, start: int, end: int) -> Node:
    if start >= end:
        return node
    words: list[Word] = []
    position = start
    for gap in _BLANK_RUN.finditer(node.line.text, start, end):
        words.append(Word(node.line.text[position : gap.start()], position, gap.start()))
        position = gap.end()
    words.append(Word(node.line.text[position:end], position, end))
    return msgspec.structs.replace(node, arguments=tuple(words))


def _names(reader: LineReader, node: Node, start: int, end: int) -> Node:
    words = split_words(node.line.text, start, end, reader.escape)
    return msgspec.structs.replace(node, arguments=tuple(words))


def _pairs(reader: LineReader, node: Node, start: int, end: int) -> Node:
    """Name, value, name, value …; the legacy form has one pair."""
    text = node.line.text
    words = split_words(text, start, end, reader.escape)
    if not words:
        return node
    if "=" not in words[0].text:
        gap = _BLANK_RUN.search(text, start, end)
        if gap is None:
            raise node.error(f"{node.keyword} must have two arguments", words[0], hint=f"{node.keyword} name=value")
        pair = Word(text[start : gap.start()], start, gap.start()), Word(text[gap.end() : end], gap.end(), end)
        return msgspec.structs.replace(node, arguments=pair, legacy_pair=True)
    arguments: list[Word] = []
    for word in words:
        name, equals, value = word.text.partition("=")
        if not equals:
            raise node.error(
                f'Syntax error - can\'t find = in "{word.text}". Must be of the form: name=value',
                word,
                hint="quote a value that has spaces",
            )
        middle = word.start + len(name)
        arguments += Word(name, word.start, middle), Word(value, middle + 1, word.end)
    return msgspec.structs.replace(node, arguments=tuple(arguments))


def _json_or(plain: Callable[[LineReader, Node, int, int], Node]) -> Callable[[LineReader, Node, int, int], Node]:
    def form(reader: LineReader, node: Node, start: int, end: int) -> Node:
        if start >= end:
            return node
        items = parse_json(node.line.text[start:end])
        if items is None:
            return plain(reader, node, start, end)
        if not all(isinstance(item, str) for item in items):
            raise node.error(_NOT_STRINGS, Word("", start, end))
        return msgspec.structs.replace(node, arguments=tuple(Word(item, start, end) for item in items), is_json=True)

    return form


def _healthcheck(reader: LineReader, node: Node, start: int, end: int) -> Node:
    match = _WORD.match(node.line.text, start, end)
    if match is None:
        return node
    kind = Word(match.group(), match.start(), match.end())
    rest = match.end()
    while rest < end and node.line.text[rest] in SPACE:
        rest += 1
    command = _json_or(_whole)(reader, node, rest, end)
    return msgspec.structs.replace(command, arguments=(kind, *command.arguments))


def _onbuild(reader: LineReader, node: Node, start: int, end: int) -> Node:
    if start >= end:
        return node
    child = _node(reader, node.line, start) if _depth(node.line.text, start) < 50 else None
    if child is None:
        raise node.error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    return msgspec.structs.replace(node, child=child)


def _depth(text: str, start: int) -> int:
    return text[:start].upper().count("ONBUILD")


_FORMS: dict[str, Callable[[LineReader, Node, int, int], Node]] = {
    "add": _json_or(_blank_separated),
    "arg": _names,
    "cmd": _json_or(_whole),
    "copy": _json_or(_blank_separated),
    "entrypoint": _json_or(_whole),
    "env": _pairs,
    "expose": _blank_separated,
    "from": _blank_separated,
    "healthcheck": _healthcheck,
    "label": _pairs,
    "maintainer": _whole,
    "onbuild": _onbuild,
    "run": _json_or(_whole),
    "shell": _json_or(_whole),
    "stopsignal": _whole,
    "user": _whole,
    "volume": _json_or(_blank_separated),
    "workdir": _whole,
}
KEYWORDS = tuple(sorted(name.upper() for name in _FORMS))
