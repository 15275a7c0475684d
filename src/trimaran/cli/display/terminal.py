"""Text on a terminal: how many columns it takes, cutting it to fit, the last rows of a step's output. Pure."""

from __future__ import annotations

_TAB = 8
_LONGEST = 65536
"""Bytes of one log event that can still be seen in a few rows; what comes before is not looked at."""


def columns(text: str) -> int:
    """Columns `text` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, width: int) -> str:
    """The longest beginning that fits in `width` columns."""
    if text.isascii() or columns(text) <= width:
        return text[: max(width, 0)] if text.isascii() else text
    kept = text[: max(width, 0)]
    while columns(kept) > width:
        kept = kept[:-1]
    return kept


def pad(text: str, width: int) -> str:
    return text + " " * max(width - columns(text), 0)


def printable(text: str) -> str:
    """No control characters: what names from files and registries hold must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text)


class Tail:
    """The last rows of a step's output, wrapped; carriage returns overwrite, escape sequences are dropped."""

    __slots__ = ("_column", "_row", "rows", "seen")

    def __init__(self) -> None:
        self.rows: list[str] = []
        """Finished rows, newest last; no more than a screen's worth is kept."""
        self._row = ""
        self._column = 0
        self.seen = 0
        """Bytes taken so far."""

    def write(self, data: bytes, width: int, height: int) -> None:
        self.seen += len(data)
        text = data[-_LONGEST:].decode("utf-8", "replace")
        if "\x1b" in text:
            text = strip_escapes(text)
        for number, line in enumerate(text.split("\n")):
            if number:
                self._finish(width, height)
            for part_number, part in enumerate(line.split("\r")):
                if part_number:
                    self._column = 0
                self._overwrite(part)

    def visible(self, width: int, height: int) -> list[str]:
        """The rows on a screen of that size, without blank ones."""
        rows = [*self.rows, *wrapped(self._row, width)][-height:]
        return [row for row in rows if row.strip()]

    def _overwrite(self, part: str) -> None:
        if "\t" in part:
            part = _expand(part, self._column)
        part = printable(part)
        self._row = self._row[: self._column] + part + self._row[self._column + len(part) :]
        self._column += len(part)

    def _finish(self, width: int, height: int) -> None:
        self.rows = [*self.rows, *wrapped(self._row, width)][-height:]
        self._row, self._column = "", 0


def wrapped(row: str, width: int) -> list[str]:
    """In rows of `width` columns."""
    if columns(row) <= width:
        return [row]
    rows = []
    while row:
        head = cut(row, width) or row[:1]
        rows.append(head)
        row = row[len(head) :]
    return rows


def _expand(part: str, column: int) -> str:
    out = ""
    for piece in part.split("\t")[:-1]:
        out += piece
        out += " " * (_TAB - (column + len(out)) % _TAB)
    return out + part.rsplit("\t", maxsplit=1)[-1]


def strip_escapes(text: str) -> str:
    """Without terminal control sequences: CSI (`ESC [ … letter`), OSC (`ESC ] … BEL`), and two-character ones."""
    out: list[str] = []
    position = 0
    while True:
        escape = text.find("\x1b", position)
        if escape < 0:
            out.append(text[position:])
            return "".join(out)
        out.append(text[position:escape])
        position = _after_escape(text, escape + 1)


def _after_escape(text: str, position: int) -> int:
    kind = text[position : position + 1]
    if kind == "[":
        position += 1
        while position < len(text) and not "@" <= text[position] <= "~":
            position += 1
        return position + 1
    if kind == "]":
        ends = [end for end in (text.find("\a", position), text.find("\x1b\\", position)) if end >= 0]
        if not ends:
            return len(text)
        return min(ends) + (1 if text[min(ends)] == "\a" else 2)
    return position + (2 if kind in "()#%" and kind else 1)
