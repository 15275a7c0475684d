"""`--progress plain`: blocks of `#N` lines, one vertex at a time, as buildx prints them (reference §1.10).

It stays with a vertex for about five seconds before another's lines come in between, and never hides one longer than
ten. Pure: `update` returns the text to write.

Where a CI server folds logs each such block is a group: every line stands below the step that said it, as it happens.
How a step ended stands after its group, to be seen while that is folded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trimaran.cli.display.epilogue import epilogue
from trimaran.cli.display.trace import SECOND, Trace, VertexState
from trimaran.cli.units import progress_size
from trimaran.events import Event, StatusEvent

if TYPE_CHECKING:
    from trimaran.cli.display.ci_log import CiLog

STAY = 5 * SECOND
HIDDEN_AT_MOST = 10 * SECOND
_STATUS_EVERY = 5 * SECOND
_STATUS_STEP = 0.05
_ERROR_LINES = 10


class Plain:
    """The plain display of one build."""

    __slots__ = (
        "_banner",
        "_ci_log",
        "_current",
        "_grouped",
        "_noted",
        "_now",
        "_numbers",
        "_shown_statuses",
        "_since",
        "_warned",
        "trace",
    )

    def __init__(self, banner: str = "", ci_log: CiLog | None = None) -> None:
        self.trace = Trace()
        self._banner = banner
        self._ci_log = ci_log
        self._grouped = False
        """A group is open."""
        self._now = 0
        self._current: VertexState | None = None
        self._numbers: dict[VertexState, int] = {}
        self._since: dict[VertexState, int] = {}
        """When the news of a vertex that nobody has seen yet began."""
        self._shown_statuses: dict[tuple[int, str], StatusEvent] = {}
        self._warned: dict[VertexState, int] = {}
        self._noted: dict[VertexState, int] = {}

    def update(self, events: Iterable[Event], now: int) -> str:
        self.trace.apply(events)
        for vertex in self.trace.changed:
            self._since.setdefault(vertex, now)
        self._now = now
        out: list[str] = []
        self._show(out, now)
        return self._joined(out)

    def finish(self, now: int) -> str:
        """What is left, then the epilogue of failed steps."""
        rest = self.update((), now)
        return rest + self._joined([self._close_line(), self._end_group(), epilogue(self.trace, lines=_ERROR_LINES)])

    def _joined(self, out: list[str]) -> str:
        """Where a CI server reads, each piece is whole lines: so nothing in it hides behind what came before."""
        if self._ci_log is None:
            return "".join(out)
        from trimaran.cli.display.ci_log import Mark

        return "".join(piece if isinstance(piece, Mark) else self._ci_log.harmless(piece) for piece in out)

    def _show(self, out: list[str], now: int) -> None:
        news = [vertex for vertex in self.trace.changed if vertex.started and not vertex.hidden]
        done = sorted((vertex for vertex in news if vertex.completed), key=lambda vertex: vertex.last_end)
        going = [vertex for vertex in news if not vertex.completed]
        was_current = self._current
        if was_current is not None and was_current in done:
            done.remove(was_current)
            done.insert(0, was_current)
        for vertex in done:
            self._speak(out, vertex)
        if not going:
            self._stay_with_someone(out)
            return
        if self._current is not None and self._current in going:
            self._speak(out, self._current)
        following = self._next(going, now)
        if following is not None and following is not self._current:
            self._speak(out, following)

    def _stay_with_someone(self, out: list[str]) -> None:
        """Nothing new from what runs: if nobody has the floor, whoever runs longest is named."""
        if self._current is not None and not self._current.completed:
            return
        for vertex in self.trace.started:
            if not vertex.completed and not vertex.hidden:
                self._speak(out, vertex)
                return

    def _next(self, going: list[VertexState], now: int) -> VertexState | None:
        """Who speaks next among those with news: the busiest, once the one on the floor had its share."""
        waiting = [vertex for vertex in going if vertex is not self._current]
        if not waiting:
            return None
        pace = {vertex: self._pace(vertex, now) for vertex in going}
        busiest = max(waiting, key=lambda vertex: pace[vertex])
        if self._current is None:
            return busiest
        for vertex in waiting:
            if now - self._since.get(vertex, now) > HIDDEN_AT_MOST:
                return vertex
        total = sum(pace.values())
        share = pace.get(self._current, 0.0) / total if total else 0.0
        held = now - self._since.get(self._current, now)
        allowed = STAY / (1.0 - share) if share < 1 else float("inf")
        return busiest if held > allowed else None

    def _pace(self, vertex: VertexState, now: int) -> float:
        waited = max(now - self._since.get(vertex, now), 1)
        return self.trace.changed.get(vertex, 0) / waited

    def _speak(self, out: list[str], vertex: VertexState) -> None:
        """Print all news of a vertex; it holds the floor until it completes."""
        if vertex is not self._current:
            self._change(out, vertex)
        head = f"#{self._numbers[vertex]} "
        body: list[str] = []
        body.extend(f"{head}{note}\n" for note in vertex.notes[self._noted.get(vertex, 0) :])
        self._noted[vertex] = len(vertex.notes)
        self._statuses(body, vertex, head)
        news = vertex.warnings[self._warned.get(vertex, 0) :]
        body.extend(f"{head}WARN: {warning.short.decode('utf-8', 'replace')}\n" for warning in news)
        self._warned[vertex] = len(vertex.warnings)
        if body:
            out.append(self._close_line())
            out.extend(body)
        self._logs(out, vertex, head)
        self.trace.changed.pop(vertex, None)
        if vertex.completed:
            out.append(self._close_line())
            out.append(self._end_group())
            out.append(f"{head}{outcome(vertex)}\n")
            self._current = None
            self._since.pop(vertex, None)

    def _change(self, out: list[str], vertex: VertexState) -> None:
        if self._current is not None:
            out.append(self._close_line())
            out.append(self._end_group())
            out.append(f"#{self._numbers[self._current]} ...\n")
            self._since.pop(self._current, None)
        if not self._numbers and self._banner:
            out.append(f"#0 {self._banner}\n\n")
        elif self._numbers:
            out.append("\n")
        number = self._numbers.setdefault(vertex, len(self._numbers) + 1)
        out.append(self._head(f"#{number} {vertex.name}", vertex))
        self._current = vertex

    def _head(self, title: str, vertex: VertexState) -> str:
        """The first line of a block; a group begins with it, unless all there is to say is how the step ended."""
        if self._ci_log is None or (vertex.completed and not self._has_news(vertex)):
            return f"{title}\n"
        self._grouped = True
        return self._ci_log.begin(title, self._now)

    def _end_group(self) -> str:
        if self._ci_log is None or not self._grouped:
            return ""
        self._grouped = False
        return self._ci_log.end(self._now)

    def _has_news(self, vertex: VertexState) -> bool:
        return bool(
            vertex.lines
            or vertex.open_line
            or vertex.news
            or vertex.notes[self._noted.get(vertex, 0) :]
            or vertex.warnings[self._warned.get(vertex, 0) :]
        )

    def _statuses(self, out: list[str], vertex: VertexState, head: str) -> None:
        for status in vertex.statuses.values():
            if status.id not in vertex.news or not status.started:
                continue
            key = (self._numbers[vertex], status.id)
            last = self._shown_statuses.get(key)
            if last is not None and not status.completed and not _worth_saying(last, status):
                continue
            self._shown_statuses[key] = status
            out.append(f"{head}{status_line(status)}\n")
        vertex.news.clear()

    def _logs(self, out: list[str], vertex: VertexState, head: str) -> None:
        while vertex.lines:
            out.append(_rest(vertex, vertex.lines.popleft(), head) + "\n")
            vertex.spoken = 0
        if self._ci_log is not None and not vertex.completed:
            return  # whole lines alone
        if len(vertex.open_line) > vertex.spoken:
            out.append(_rest(vertex, vertex.open_line, head))
            vertex.spoken = len(vertex.open_line)

    def _close_line(self) -> str:
        """End a line whose own end has not come; it is shown again, whole, when it does."""
        if self._current is None or not self._current.spoken or self._current.cut_off:
            return ""
        self._current.cut_off = True
        return "\n"


def _rest(vertex: VertexState, line: str, head: str) -> str:
    """What of the line is still to be shown."""
    continued = vertex.spoken and not vertex.cut_off
    vertex.cut_off = False
    return line[vertex.spoken :] if continued else head + line


def _worth_saying(last: StatusEvent, status: StatusEvent) -> bool:
    step = (status.current - last.current) / status.total if status.total else 0.0
    return step >= _STATUS_STEP or status.timestamp - last.timestamp >= _STATUS_EVERY


def status_line(status: StatusEvent) -> str:
    size = status_size(status)
    seconds = max((status.completed or status.timestamp) - status.started, 0) / SECOND
    return (
        status.id
        + (f" {size}" if size else "")
        + (f" {seconds:.1f}s" if seconds > 0.01 else "")
        + (" done" if status.completed else "")
    )


def status_size(status: StatusEvent) -> str:
    if status.total:
        return f"{progress_size(status.current)} / {progress_size(status.total)}"
    return progress_size(status.current) if status.current else ""


def outcome(vertex: VertexState) -> str:
    if vertex.cancelled:
        return "CANCELED"
    if vertex.error:
        return f"ERROR: {vertex.error}"
    if vertex.cached:
        return "CACHED"
    return f"DONE {vertex.seconds(0):.1f}s"
