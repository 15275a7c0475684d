"""The reducer all displays share: events in, the state of every vertex out. Pure; times in nanoseconds.

Law: a vertex may be announced, started and completed several times (a source is looked up, then fetched); its time is
the sum of its separate runs, its outcome that of the last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from trimaran.events import (
    CANCELED,
    AdoptionEvent,
    Event,
    LogEvent,
    MissEvent,
    ProgressGroup,
    StatusEvent,
    VertexEvent,
    WarningEvent,
)

SECOND = 1_000_000_000
KEPT_LINES = 1000
"""How many lines of a vertex are remembered for the epilogue; the log file has all."""
_CANCELLED = (CANCELED, "cancelled", "canceled")


class VertexState:
    """What is known of one vertex (or of a group shown as one)."""

    __slots__ = (
        "announced",
        "cached",
        "cut_off",
        "emulated",
        "error",
        "execution",
        "hidden",
        "lines",
        "members",
        "name",
        "news",
        "notes",
        "open_line",
        "runs",
        "spoken",
        "statuses",
        "tail",
        "warnings",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.cached = False
        self.error = ""
        self.execution = ""
        self.emulated = 0
        self.runs: dict[int, int] = {}
        self.statuses: dict[str, StatusEvent] = {}
        self.news: set[str] = set()
        """Ids of statuses that changed since the plain display last spoke of them."""
        self.notes: list[str] = []
        """What is to be known of the step: why it was not cached."""
        self.lines: deque[str] = deque()
        """Complete lines not yet shown by the plain display."""
        self.open_line = ""
        """The line whose end has not come."""
        self.spoken = 0
        """How much of `open_line` the plain display has shown."""
        self.cut_off = False
        """Something else was printed after it: it has to be shown again, whole."""
        self.tail: deque[str] = deque(maxlen=KEPT_LINES)
        self.warnings: list[WarningEvent] = []
        self.members: dict[str, VertexEvent] = {}
        self.hidden = False
        self.announced = False

    @property
    def started(self) -> bool:
        return bool(self.runs)

    @property
    def completed(self) -> bool:
        return bool(self.runs) and self.runs[max(self.runs)] != 0

    @property
    def last_start(self) -> int:
        return max(self.runs, default=0)

    @property
    def last_end(self) -> int:
        return max(self.runs.values(), default=0)

    @property
    def cancelled(self) -> bool:
        return self.error.endswith(_CANCELLED)

    @property
    def failed(self) -> bool:
        return bool(self.error) and not self.cancelled

    def seconds(self, now: int) -> float:
        """Time spent in all runs; overlapping ones count once, an open one until `now`."""
        total, end = 0, 0
        for start, stop in sorted(self.runs.items()):
            until = stop or max(now, start)
            total += max(until - max(start, end), 0)
            end = max(end, until)
        return total / SECOND

    def take_log(self, data: bytes, timestamp: int) -> None:
        """Split into lines, each with its seconds since the step began, as precise as fits."""
        *complete, rest = data.decode("utf-8", "surrogateescape").split("\n")
        for line in complete:
            self.lines.append(self._open(timestamp) + line)
            self.tail.append(self.lines[-1])
            self.open_line = ""
        if rest:
            self.open_line = self._open(timestamp) + rest

    def _open(self, timestamp: int) -> str:
        return self.open_line or f"{log_seconds(max(timestamp - self.last_start, 0) / SECOND)} "

    def last_lines(self) -> list[str]:
        return [*self.tail, self.open_line] if self.open_line else list(self.tail)


def log_seconds(seconds: float) -> str:
    precision = 3 if seconds < 10 else 2 if seconds < 100 else 1
    return f"{seconds:.{precision}f}"


class Trace:
    """All vertices by digest, and those that have started in the order they did."""

    __slots__ = ("_groups", "_said", "changed", "started", "vertices", "warnings")

    def __init__(self) -> None:
        self.vertices: dict[str, VertexState] = {}
        self.started: list[VertexState] = []
        #: Vertices with news for the plain display, with how much.
        self.changed: dict[VertexState, int] = {}
        self.warnings: list[WarningEvent] = []
        self._groups: dict[str, VertexState] = {}
        self._said: set[tuple[str, str]] = set()

    def apply(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case VertexEvent():
                    self._vertex(event)
                case StatusEvent():
                    self._status(event)
                case LogEvent():
                    self._log(event)
                case WarningEvent():
                    self._warning(event)
                case MissEvent() | AdoptionEvent():
                    self._miss(event)

    def shown(self) -> Iterator[VertexState]:
        """Each vertex or group once, hidden ones left out."""
        seen: set[int] = set()
        for vertex in self.vertices.values():
            if id(vertex) not in seen and not vertex.hidden:
                seen.add(id(vertex))
                yield vertex

    @property
    def begun(self) -> int:
        """When the first vertex started; 0 before."""
        return min((min(vertex.runs) for vertex in self.started), default=0)

    def _vertex(self, event: VertexEvent) -> None:
        if event.progress_group is not None:
            self._member(event, event.progress_group)
            return
        vertex = self.vertices.get(event.digest)
        if vertex is None:
            vertex = self.vertices[event.digest] = VertexState(event.name)
        if not event.started:
            return
        before = (dict(vertex.runs), vertex.cached, vertex.error, vertex.name)
        self._begin(vertex)
        vertex.runs[event.started] = event.completed
        vertex.name = event.name
        vertex.cached, vertex.error = event.cached, event.error
        vertex.execution = event.execution or vertex.execution
        vertex.emulated = event.emulated or vertex.emulated
        if before != (vertex.runs, vertex.cached, vertex.error, vertex.name):
            self._touch(vertex)

    def _member(self, event: VertexEvent, progress_group: ProgressGroup) -> None:
        """Members of a group are one row; it shows once a member that is not weak has started."""
        group = self._groups.get(progress_group.id)
        if group is None:
            group = self._groups[progress_group.id] = VertexState(progress_group.name)
            group.hidden = True
            self.vertices["group " + progress_group.id] = group
        self.vertices[event.digest] = group
        group.members[event.digest] = event
        if not event.started:
            return
        group.runs[event.started] = event.completed
        group.cached = all(member.cached for member in group.members.values())
        group.error = next((member.error for member in group.members.values() if member.error), "")
        if progress_group.weak and group.hidden and not group.error:
            return
        group.hidden = False
        self._begin(group)
        self._touch(group)

    def _begin(self, vertex: VertexState) -> None:
        if not vertex.announced:
            vertex.announced = True
            self.started.append(vertex)

    def _touch(self, vertex: VertexState) -> None:
        self.changed[vertex] = self.changed.get(vertex, 0) + 1

    def _status(self, event: StatusEvent) -> None:
        vertex = self.vertices.get(event.vertex)
        if vertex is None:
            return
        vertex.statuses[event.id] = event
        vertex.news.add(event.id)
        self._touch(vertex)

    def _miss(self, event: MissEvent | AdoptionEvent) -> None:
        """A line below the step; what was said of the same step on another platform is not said again."""
        from trimaran.cli.display.misses import words

        if isinstance(event, MissEvent) and all(getattr(each, "whole", False) for each in event.reasons):
            return  # a first build: nobody expected anything to be cached
        vertex = self.vertices.get(event.vertex)
        said = words(event)
        if vertex is None or (event.place and (event.place, said) in self._said):
            return
        self._said.add((event.place, said))
        vertex.notes.append(said)
        self._touch(vertex)

    def _log(self, event: LogEvent) -> None:
        vertex = self.vertices.get(event.vertex)
        if vertex is not None and event.data:
            vertex.take_log(event.data, event.timestamp)
            self._touch(vertex)

    def _warning(self, event: WarningEvent) -> None:
        self.warnings.append(event)
        vertex = self.vertices.get(event.vertex)
        if vertex is not None:
            vertex.warnings.append(event)
            self._touch(vertex)
