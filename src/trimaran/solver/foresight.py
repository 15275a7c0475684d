"""What a shared cache promises before anything ran: which vertices match, and where the graph can be cut.

A promise high in the graph makes all below it needless, also steps whose results nobody kept (`mode=min`). Vertices are
*seen* inputs first; seen again when more is known of their inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trimaran.digest import Digest
from trimaran.graph.vertex import Edge, Vertex
from trimaran.solver.plan import reachable
from trimaran.solver.protocols import Matches, Result, SharedCache

_NOTHING: Matches = frozenset()


class Foresight:
    """One build's view of one shared cache."""

    def __init__(self, shared: SharedCache) -> None:
        self._shared = shared
        self._matches: dict[Digest, tuple[Matches, ...]] = {}
        self._whole: set[Digest] = set()
        """Vertices of which all inputs were known when they were seen."""

    async def see(self, vertex: Vertex, inputs: Sequence[Result | None]) -> None:
        """Find what the vertex matches, unless it is known; `inputs` are the results that are there already."""
        if vertex.digest in self._whole or vertex.hints.ignore_cache:
            return  # what is made anew matches nothing, so what is above it is entered by content alone
        of_inputs = [self._of(edge) for edge in vertex.inputs]
        self._matches[vertex.digest] = await self._shared.match(vertex, of_inputs, inputs)
        if None not in inputs:
            self._whole.add(vertex.digest)

    def matches(self, vertex: Vertex) -> tuple[Matches, ...]:
        return self._matches.get(vertex.digest, ())

    def _of(self, edge: Edge) -> Matches:
        found = self._matches.get(edge.vertex.digest, ())
        return found[edge.index] if edge.index < len(found) else _NOTHING

    def promised(self, vertex: Vertex) -> tuple[Result, ...] | None:
        """What the cache gives for a vertex that was seen."""
        matches = self._matches.get(vertex.digest, ())
        if vertex.hints.ignore_cache or not vertex.inputs or not matches or not all(matches):
            return None
        return self._shared.restore(matches)

    def serve(
        self, edges: Sequence[Edge], done: Mapping[Digest, tuple[Result, ...]]
    ) -> tuple[dict[Digest, tuple[Result, ...]], set[Digest]]:
        """(the promises nearest to `edges`, what need not be made because of them)."""
        served: dict[Digest, tuple[Result, ...]] = {}
        needed: set[Digest] = set()
        waiting = [edge.vertex for edge in edges]
        while waiting:
            vertex = waiting.pop()
            if vertex.digest in done or vertex.digest in served or vertex.digest in needed:
                continue
            promise = self.promised(vertex)
            if promise is not None:
                served[vertex.digest] = promise
                continue
            needed.add(vertex.digest)
            waiting.extend(edge.vertex for edge in vertex.inputs)
        everything = {vertex.digest for vertex in reachable(edges, done)}
        return served, everything - needed - served.keys()

    def expect(self, order: Sequence[Vertex]) -> None:
        self._shared.expect(order)

    def origin(self, vertex: Vertex) -> str:
        """Where what was promised for the vertex comes from."""
        return self._shared.origin(self._matches.get(vertex.digest, ()))

    def gone(self, part: str) -> str | None:
        return self._shared.gone(part)
