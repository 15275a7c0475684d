"""What is wanted, ready, running and done: the solver's decisions, without doing anything.

Pure and iterative: a graph may be thousands of vertices deep, so nothing here recurses.
"""

from __future__ import annotations

from collections.abc import Iterable

from trimaran.digest import Digest
from trimaran.graph.vertex import Edge, Vertex


def reachable(edges: Iterable[Edge], done: Iterable[Digest] = ()) -> list[Vertex]:
    """Every vertex below `edges`, each once, inputs before what reads them; not those `done`, nor below them."""
    order: list[Vertex] = []
    seen: set[Digest] = set(done)
    stack = [(edge.vertex, False) for edge in reversed(list(edges))]
    while stack:
        vertex, inputs_done = stack.pop()
        if inputs_done:
            order.append(vertex)
        elif vertex.digest not in seen:
            seen.add(vertex.digest)
            stack.append((vertex, True))
            stack.extend((edge.vertex, False) for edge in reversed(vertex.inputs))
    return order


class Plan:
    """The state of solving one set of edges. Ask `take` for what can start, tell `finish` what is done."""

    __slots__ = ("_ready", "_running", "_vertices", "_waiting", "_wanted_by", "order")

    def __init__(self, edges: Iterable[Edge], done: Iterable[Digest] = ()) -> None:
        self.order = reachable(edges, done)
        self._vertices = {vertex.digest: vertex for vertex in self.order}
        self._wanted_by: dict[Digest, list[Digest]] = {}
        self._waiting: dict[Digest, int] = {}
        self._ready: list[Digest] = []
        self._running: set[Digest] = set()
        for vertex in self.order:
            missing = {edge.vertex.digest for edge in vertex.inputs if edge.vertex.digest in self._vertices}
            self._waiting[vertex.digest] = len(missing)
            for digest in missing:
                self._wanted_by.setdefault(digest, []).append(vertex.digest)
            if not missing:
                self._ready.append(vertex.digest)

    def take(self) -> list[Vertex]:
        """All vertices that may start now; they count as running from here on."""
        taken, self._ready = self._ready, []
        self._running.update(taken)
        return [self._vertices[digest] for digest in taken]

    def finish(self, digest: Digest) -> None:
        """A running vertex has its results: who waited for it may become ready."""
        self._running.discard(digest)
        del self._waiting[digest]
        for reader in self._wanted_by.pop(digest, ()):
            self._waiting[reader] -= 1
            if self._waiting[reader] == 0:
                self._ready.append(reader)

    @property
    def complete(self) -> bool:
        return not self._waiting

    def __repr__(self) -> str:
        return f"Plan(waiting={len(self._waiting)}, ready={len(self._ready)}, running={len(self._running)})"


def readers(vertices: Iterable[Vertex], changed: Iterable[Digest]) -> set[Digest]:
    """`changed` and everything that reads it, however far above; `vertices` in order, inputs first."""
    dirty = set(changed)
    for vertex in vertices:
        if any(edge.vertex.digest in dirty for edge in vertex.inputs):
            dirty.add(vertex.digest)
    return dirty
