"""How a vertex goes, as events."""

from __future__ import annotations

import time
from collections.abc import Sequence

from trimaran.events import Progress, Sink, VertexEvent, error_words
from trimaran.graph.vertex import Vertex
from trimaran.solver.protocols import Result, Step


class Work:
    """Reports one vertex's start and end, whatever the end is."""

    def __init__(self, vertex: Vertex, step: Step, sink: Sink) -> None:
        self.cached = False
        self.key = ""
        self.origin = ""
        self._vertex = vertex
        self._step = step
        self._sink = sink
        self._started = 0
        self._ran = 0

    def __enter__(self) -> None:
        self._started = time.time_ns()
        self._sink(vertex_event(self._vertex, started=self._started))

    async def run(self, step: Step, inputs: Sequence[Result]) -> tuple[Result, ...]:
        before = time.time_ns()
        results = await step.run(inputs, Progress(self._sink, self._vertex.digest))
        self._ran = time.time_ns() - before
        self.cached = step.served
        return results

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        execution = self._step.execution
        self._sink(
            vertex_event(
                self._vertex,
                started=self._started,
                completed=time.time_ns(),
                cached=self.cached and error is None,
                error=error_words(error) if error else "",
                execution=execution,
                emulated=self._ran if execution == "emulated" else 0,
                key=self.key,
                origin=self.origin,
            )
        )


def vertex_event(
    vertex: Vertex,
    *,
    started: int = 0,
    completed: int = 0,
    cached: bool = False,
    error: str = "",
    execution: str = "",
    emulated: int = 0,
    key: str = "",
    origin: str = "",
) -> VertexEvent:
    return VertexEvent(
        digest=vertex.digest,
        name=vertex.hints.name,
        inputs=tuple(edge.vertex.digest for edge in vertex.inputs),
        started=started,
        completed=completed,
        cached=cached,
        error=error,
        progress_group=vertex.hints.progress_group,
        execution=execution,
        emulated=emulated,
        place=vertex.hints.place,
        platform=vertex.platform.format_all() if vertex.platform else "",
        key=key,
        origin=origin,
    )
