"""`--progress tty`: live rows that are redrawn in place, with the last lines of what runs (reference §1.10).

Pure: `update` returns the text, cursor movements included, that turns the last picture into the present one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from trimaran.cli.display.colours import RESET, Colours
from trimaran.cli.display.epilogue import epilogue
from trimaran.cli.display.plain import status_size
from trimaran.cli.display.terminal import Tail, cut, pad, printable, wrapped
from trimaran.cli.display.trace import KEPT_LINES, SECOND, Trace, VertexState
from trimaran.events import Event, LogEvent

LEAST_TAIL = 6
"""Rows of output shown below a running step, at least."""
_MARGIN = 10
_SHORTEST_NAME = 12
_NOTE_ROWS = 3
"""Rows that a note may take; `trimaran explain` has all of it."""
_BRIEF = 0.05


class Row(msgspec.Struct, frozen=True):
    """One line: a vertex, a part of one, or a warning."""

    name: str
    seconds: float
    size: str = ""
    colour: str = ""
    going: bool = False
    vertex: VertexState | None = None
    is_note: bool = False
    """It takes no time, and has the whole width."""


class Tty:
    """The live display of one build."""

    __slots__ = ("_colours", "_label", "_rows", "_size", "_started", "_tail_rows", "_tails", "_turns", "trace")

    def __init__(
        self,
        size: Callable[[], tuple[int, int]],
        *,
        label: str = "",
        colours: Colours | None = None,
        tail_rows: int = LEAST_TAIL,
    ) -> None:
        """`size` tells the terminal's columns and rows, asked at every drawing; `label` ends the head."""
        self.trace = Trace()
        self._size = size
        self._label = label
        self._colours = colours or Colours()
        self._tail_rows = tail_rows
        self._tails: dict[VertexState, Tail] = {}
        self._turns: dict[VertexState, int] = {}
        self._rows = 0
        self._started = False

    def update(self, events: Iterable[Event], now: int) -> str:
        width, height = self._size()
        for event in events:
            self.trace.apply((event,))
            if isinstance(event, LogEvent) and (vertex := self.trace.vertices.get(event.vertex)):
                tail = self._tails.setdefault(vertex, Tail())
                tail.write(event.data, max(width - _MARGIN, 1), self._tail_height(height))
                vertex.lines.clear()
        self.trace.changed.clear()
        return self._draw(now, width, height)

    def finish(self, now: int) -> str:
        width, height = self._size()
        return self._draw(now, width, height, final=True) + epilogue(self.trace, lines=KEPT_LINES)

    def _draw(self, now: int, width: int, height: int, *, final: bool = False) -> str:
        rows = self._all_rows(now, width)
        tailed, hidden = self._tailed(rows, height)
        if not final:
            rows = fit(rows, height - 2 - hidden)
        out = [self._home(), "\x1b[?25l", self._header(now, width, final=final)]
        count = 0
        for row in rows:
            line = self._line(row, width)
            if not line:
                continue
            out.append(line)
            count += 1
            if row.vertex in tailed and row.vertex is not None:
                tail = self._tail_lines(row.vertex, width, height)
                out.extend(tail)
                count += len(tail)
        if (surplus := self._rows - count) > 0:
            out.append((" " * width + "\n") * surplus + "\x1b[1A" * surplus + "\x1b[0G")
        self._rows = count
        return "".join(out) + "\x1b[?25h"

    def _home(self) -> str:
        """Back to where the picture began."""
        if self._started:
            return "\x1b[1A" * (self._rows + 1) + "\x1b[0G"
        self._started = True
        return "\x1b[1A\x1b[1B\x1b[0G"

    def _header(self, now: int, width: int, *, final: bool) -> str:
        shown = list(self.trace.shown())
        done = sum(1 for vertex in shown if vertex.completed)
        word = "FINISHED" if final and done and done == len(shown) else ""
        begun = self.trace.begun or now
        text = f"[+] Building {max(now - begun, 0) / SECOND:.1f}s ({done}/{len(shown)}) {word}"
        room = width - 2 - len(self._label) if self._label else width
        text = pad(text, room) + (f" {self._label}" if self._label else "")
        return cut(text, width) + "\n"

    def _all_rows(self, now: int, width: int) -> list[Row]:
        return [row for vertex in self.trace.started if not vertex.hidden for row in self._rows_of(vertex, now, width)]

    def _rows_of(self, vertex: VertexState, now: int, width: int) -> list[Row]:
        seconds = vertex.seconds(now)
        going = not vertex.completed
        colour = self._colours.run
        words = "CACHED " if vertex.cached else ""
        if vertex.cancelled:
            words, colour = words + "CANCELED ", self._colours.cancel
        elif vertex.error:
            words, colour = words + "ERROR ", self._colours.error
        rows = [
            Row(words + printable(vertex.name), seconds, colour="" if going else colour, going=going, vertex=vertex)
        ]
        for note in vertex.notes:
            rows.extend(
                Row(line, 0.0, colour="" if going else colour, going=going, is_note=True) for line in _note(note, width)
            )
        for status in vertex.statuses.values():
            if not status.started:
                continue
            open_ = not status.completed
            spent = max((now if open_ else status.completed) - status.started, 0) / SECOND
            rows.append(
                Row(
                    "=> " + printable(status.id),
                    max(spent, 0.0),
                    status_size(status),
                    "" if open_ else self._colours.run,
                    open_,
                )
            )
        rows.extend(
            Row("WARN: " + printable(warning.short.decode("utf-8", "replace")), seconds, going=True)
            for warning in vertex.warnings
        )
        return rows

    def _line(self, row: Row, width: int) -> str:
        """=> NAME [SIZE]     1.2s, exactly `width - 1` columns; "" when the screen is too narrow."""
        timer = f" {row.seconds if row.seconds >= _BRIEF else 0.0:3.1f}s"
        left = width - 4 - len(timer) - 2
        size = ""
        if row.size and left + len(row.size) > 20:
            size = " " + row.size
            left -= len(size)
        if left < _SHORTEST_NAME:
            return ""
        if row.is_note:
            line = pad(f" => {row.name}", width - 1) + "\n"
            return f"{row.colour}{line}{RESET}" if row.colour else line
        text = f" => {cut(row.name, left)}{size}"
        line = pad(text, width - len(timer) - 2) + " " + timer + "\n"
        return f"{row.colour}{line}{RESET}" if row.colour else line

    def _tail_height(self, height: int) -> int:
        return max(LEAST_TAIL, min(self._tail_rows, height - LEAST_TAIL - 1))

    def _tailed(self, rows: list[Row], height: int) -> tuple[set[VertexState], int]:
        """The running steps whose output is shown, the most talkative first, and how many rows that takes."""
        free = height - 2 - sum(1 for row in rows if row.going)
        needed = self._tail_height(height) + 3
        running = [row.vertex for row in rows if row.going and row.vertex in self._tails]
        candidates = [vertex for vertex in running if vertex is not None]
        candidates.sort(key=lambda vertex: -(self._tails[vertex].seen + 50 * self._turns.get(vertex, 0)))
        tailed: set[VertexState] = set()
        used = 0
        for vertex in candidates:
            if free <= needed:
                break
            free -= needed
            tailed.add(vertex)
            self._turns[vertex] = self._turns.get(vertex, 0) + 1
            used += len(self._tails[vertex].visible(_MARGIN, self._tail_height(height)))
        return tailed, used

    def _tail_lines(self, vertex: VertexState, width: int, height: int) -> list[str]:
        inner = max(width - _MARGIN, 1)
        visible = self._tails[vertex].visible(inner, self._tail_height(height))
        lines = (f" => => # {pad(cut(line, inner), inner)}\n" for line in visible)
        return [f"{self._colours.faint}{line}{RESET}" if self._colours.faint else line for line in lines]


def _note(note: str, width: int) -> list[str]:
    """As the rows it takes; what does not fit is left to `explain`."""
    room = width - len(" => => ") - 1
    if room < _SHORTEST_NAME:
        return []
    lines = wrapped(note, room)
    if len(lines) > _NOTE_ROWS:
        lines = [*lines[: _NOTE_ROWS - 1], cut(lines[_NOTE_ROWS - 1], room - 1) + "…"]
    return [f"{'   ' if number else '=> '}{line}" for number, line in enumerate(lines)]


def fit(rows: list[Row], limit: int) -> list[Row]:
    """The last `limit` rows; what still runs but would be cut takes the place of finished rows at the top."""
    if limit <= 0:
        return []
    if len(rows) <= limit:
        return rows
    running = [row for row in rows[:-limit] if row.going]
    kept: list[Row] = []
    to_drop = len(running)
    for row in rows[-limit:]:
        if to_drop and not row.going:
            to_drop -= 1
            continue
        kept.append(row)
    room = limit - len(kept)
    return running[len(running) - room :] + kept if room else kept
