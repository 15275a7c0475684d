"""Vertices to be: what a COPY reads of the context is known only when all is converted, so digests have to wait.

Drafts are kept in the order they were made, inputs before users, and become vertices in one pass: nothing recurses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from trimaran.errors import Location
from trimaran.graph.ops import Constraints, FileOp, MergeOp, Op
from trimaran.graph.vertex import Edge, Hints, Vertex
from trimaran.platforms import Platform


class Draft:
    """One vertex to be; its only output of interest is the first. `op` may be a function asked at the end."""

    __slots__ = ("hints", "inputs", "op", "platform", "vertex")

    def __init__(
        self, op: Op | Callable[[], Op], inputs: Sequence[Draft], platform: Platform | None, hints: Hints
    ) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.platform = platform
        self.hints = hints
        self.vertex: Vertex | None = None

    @property
    def edge(self) -> Edge:
        """Once drafts are finished."""
        assert self.vertex is not None
        return self.vertex.edge()


class Drafts:
    """All of a build, over all its platforms."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: list[Draft] = []

    def add(
        self,
        op: Op | Callable[[], Op],
        inputs: Sequence[Draft] = (),
        *,
        name: str,
        platform: Platform | None = None,
        where: Location | None = None,
        ignore_cache: bool = False,
        command: str = "",
        place: str = "",
        arguments: tuple[str, ...] = (),
    ) -> Draft:
        description = (("com.docker.dockerfile.v1.command", command),) if command else ()
        hints = Hints(
            name=name,
            ignore_cache=ignore_cache,
            where=where,
            description=description,
            place=place,
            arguments=arguments,
        )
        draft = Draft(op, inputs, platform, hints)
        self._all.append(draft)
        return draft

    def finish(self) -> None:
        for draft in self._all:
            op = draft.op if isinstance(draft.op, msgspec.Struct) else draft.op()
            draft.vertex = Vertex(
                op,
                tuple(item.edge for item in draft.inputs),
                # what moves files does the same on every platform, so BuildKit names none and platforms share it
                constraints=Constraints(platform=None if isinstance(op, FileOp | MergeOp) else draft.platform),
                hints=draft.hints,
            )
