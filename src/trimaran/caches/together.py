"""Several shared caches as one: what this store kept of them first, then those that were imported."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.graph.vertex import Vertex
from trimaran.solver.protocols import Matches, Result, SharedCache


class Together:
    """See `solver.protocols.SharedCache`. The members' matches are never the same number."""

    def __init__(self, members: Sequence[SharedCache]) -> None:
        self._members = members

    def expect(self, order: Sequence[Vertex]) -> None:
        for member in self._members:
            member.expect(order)

    async def match(
        self, vertex: Vertex, inputs: Sequence[Matches], results: Sequence[Result | None]
    ) -> tuple[Matches, ...]:
        found = [await member.match(vertex, inputs, results) for member in self._members]
        return tuple(frozenset[int]().union(*of_output) for of_output in zip(*found, strict=True))

    def restore(self, matches: Sequence[Matches]) -> tuple[Result, ...] | None:
        restored = (member.restore(matches) for member in self._members)
        return next((results for results in restored if results is not None), None)

    def origin(self, matches: Sequence[Matches]) -> str:
        return next((origin for member in self._members if (origin := member.origin(matches))), "")

    def gone(self, part: str) -> str | None:
        told = [member.gone(part) for member in self._members]
        return next((origin for origin in told if origin is not None), None)
