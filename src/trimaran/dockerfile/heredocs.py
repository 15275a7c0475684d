"""Heredocs: `<<EOF`, `<<-EOF`, `3<<"EOF"` as words of RUN, COPY, ADD, and the lines that follow."""

from __future__ import annotations

import msgspec

from trimaran.dockerfile.words import Expander, ExpansionError
from trimaran.errors import Range

_PLAIN = Expander(keep_unset=True)
_QUOTED = Expander(keep_unset=True, keep_quotes=True)
_RAW = Expander(keep_unset=True, keep_quotes=True, keep_escapes=True)


class HeredocMark(msgspec.Struct, frozen=True):
    name: str
    expand: bool
    """False when a part of the name is quoted."""
    chomp: bool
    file_descriptor: int = 0


class Heredoc(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    content: str
    expand: bool
    chomp: bool
    file_descriptor: int = 0
    range: Range
    """Its lines with the terminator."""

    @property
    def chomped(self) -> str:
        """The content as it is used: without leading tabs where `<<-` asked for that."""
        return without_tabs(self.content) if self.chomp else self.content


def parse_mark(word: str) -> HeredocMark | None:
    """The heredoc a word asks for; None when it is no such word; ExpansionError when its quotes do not match."""
    digits, arrows, rest = word.partition("<<")
    if not arrows or "<" in rest or (digits and not (digits.isascii() and digits.isdigit())):
        return None
    chomp = rest.startswith("-")
    rest = rest[1:] if chomp else rest
    if not rest:
        return None
    names = _PLAIN.words(rest, {})
    if len(names) != 1:
        return None
    raw = _QUOTED.words(rest, {})
    if len(raw) != 1:
        raise ExpansionError(f"parse heredoc {word!r}: its quotes are ambiguous")
    return HeredocMark(names[0], names[0] == raw[0], chomp, int(digits[:9] or "0"))


def marks_in(line: str) -> list[HeredocMark]:
    """All heredocs a logical line asks for, in order."""
    try:
        words = list(_RAW.words(line, {}))
    except ExpansionError:
        return []  # a shell line may have quotes that only the shell understands
    found: list[HeredocMark] = []
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if _is_open(word) and index < len(words):  # `<< EOF`: the name may stand apart
            word += " " + words[index]
            if parse_mark(word) is not None:
                index += 1
        mark = parse_mark(word)
        if mark is not None:
            found.append(mark)
    return found


def without_tabs(text: str) -> str:
    return "\n".join(line.lstrip("\t") for line in text.split("\n"))


def _is_open(word: str) -> bool:
    return word.removesuffix("-").lstrip("0123456789") == "<<"
