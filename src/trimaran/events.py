"""What engines report while they work: frozen values with the fields of BuildKit's status messages.

Text is made only in `cli/display` (and gRPC messages in `server/`) from these. Times are nanoseconds since the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Location, TrimaranError

if TYPE_CHECKING:
    from trimaran.misses import Reason

STDOUT = 1
STDERR = 2
CANCELED = "context canceled"
"""The error of a vertex that was stopped, as BuildKit words it."""


class ProgressGroup(msgspec.Struct, frozen=True):
    id: str
    name: str = ""
    weak: bool = False


class VertexEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A vertex as it stands now; sent again whenever that changes (announced, started, completed)."""

    digest: Digest
    name: str
    inputs: tuple[Digest, ...] = ()
    started: int = 0
    completed: int = 0
    cached: bool = False
    error: str = ""
    progress_group: ProgressGroup | None = None
    #: How the step runs on this machine: "native", "cross", "emulated" or "" (not a process).
    execution: str = ""
    #: Nanoseconds spent under emulation; 0 when nothing was emulated.
    emulated: int = 0
    #: Stage and number in the build file, the platform, and the cache key, of steps that have such.
    place: str = ""
    platform: str = ""
    key: str = ""
    #: The shared cache that a cached step's result comes from.
    origin: str = ""


class StatusEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing inside a vertex (a layer being pulled, bytes of a context) and how far it is; `total` 0: unknown."""

    id: str
    vertex: Digest
    name: str = ""
    current: int = 0
    total: int = 0
    timestamp: int = 0
    started: int = 0
    completed: int = 0


class LogEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes a step wrote; `stream` is STDOUT or STDERR. Never clipped."""

    vertex: Digest
    stream: int
    data: bytes
    timestamp: int = 0


class WarningEvent(msgspec.Struct, frozen=True, kw_only=True):
    vertex: Digest
    level: int = 1
    short: bytes = b""
    detail: tuple[bytes, ...] = ()
    url: str = ""
    where: Location | None = None


class MissEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A step that could have been served from the cache has to run: told before it does."""

    vertex: Digest
    name: str
    place: str = ""
    """Stage and number of the step, the same on all platforms."""
    reasons: tuple[Reason, ...]
    timestamp: int = 0


class AdoptionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A step ran and gave what it had given before: what reads it is cached."""

    vertex: Digest
    name: str
    place: str = ""
    timestamp: int = 0


Event = VertexEvent | StatusEvent | LogEvent | WarningEvent | MissEvent | AdoptionEvent
Sink = Callable[[Event], None]
"""Takes an event, never blocks, may be called from any thread."""


def discard(event: Event) -> None:
    """The sink of those who don't want to know."""


class Task:
    """A running count within a vertex; `add` may be called from the thread that does the work."""

    __slots__ = ("_last", "_progress", "current", "id", "started", "total")

    _EVERY = 100_000_000

    def __init__(self, progress: Progress, identifier: str, total: int) -> None:
        self._progress = progress
        self._last = 0
        self.id = identifier
        self.total = total
        self.current = 0
        self.started = time.time_ns()

    def add(self, amount: int) -> None:
        self.current += amount
        now = time.time_ns()
        if now - self._last >= self._EVERY:
            self._last = now
            self.report(now)

    def report(self, now: int, *, completed: bool = False) -> None:
        self._progress.sink(
            StatusEvent(
                id=self.id,
                vertex=self._progress.vertex,
                current=self.current,
                total=self.total,
                timestamp=now,
                started=self.started,
                completed=now if completed else 0,
            )
        )


class Progress:
    """A sink bound to one vertex: what a step, source or exporter gets to tell how it goes."""

    __slots__ = ("sink", "vertex")

    def __init__(self, sink: Sink, vertex: Digest) -> None:
        self.sink = sink
        self.vertex = vertex

    @contextmanager
    def task(self, identifier: str, total: int = 0) -> Iterator[Task]:
        """One row under the vertex, e.g. `with progress.task("exporting layers") as t: t.add(n)`."""
        task = Task(self, identifier, total)
        task.report(task.started)
        yield task
        task.report(time.time_ns(), completed=True)

    def log(self, data: bytes, stream: int = STDOUT) -> None:
        self.sink(LogEvent(vertex=self.vertex, stream=stream, data=data, timestamp=time.time_ns()))

    def warn(self, short: str, *, detail: tuple[str, ...] = (), url: str = "", where: Location | None = None) -> None:
        self.sink(
            WarningEvent(
                vertex=self.vertex,
                short=short.encode(),
                detail=tuple(line.encode() for line in detail),
                url=url,
                where=where,
            )
        )


@contextmanager
def vertex(sink: Sink, name: str, *, digest: Digest | None = None) -> Iterator[Progress]:
    """Report a piece of work that is no vertex of a graph ("exporting to image") as one: started, completed, error."""
    own = digest or Digest.of(f"{name}\0{time.time_ns()}".encode())
    started = time.time_ns()
    sink(VertexEvent(digest=own, name=name))
    sink(VertexEvent(digest=own, name=name, started=started))
    try:
        yield Progress(sink, own)
    except BaseException as error:
        ended = time.time_ns()
        sink(VertexEvent(digest=own, name=name, started=started, completed=ended, error=error_words(error)))
        raise
    sink(VertexEvent(digest=own, name=name, started=started, completed=time.time_ns()))


def error_words(error: BaseException) -> str:
    """A vertex's `error`; of one that was cancelled, as BuildKit says it (displays go by that)."""
    from asyncio import CancelledError

    if isinstance(error, CancelledError):
        return CANCELED
    return str(error) if isinstance(error, TrimaranError) else f"{type(error).__name__}: {error}"
