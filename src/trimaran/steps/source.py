"""How a SourceOp runs: by the source of its URL's scheme. Sources know better than any record what is new."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.digest import Digest
from trimaran.errors import Unsupported
from trimaran.events import Progress
from trimaran.graph.ops import SourceOp
from trimaran.graph.vertex import Vertex
from trimaran.solver.protocols import KeyInput, Result
from trimaran.steps.context import StepContext


class SourceStep:
    """See `solver.protocols.Step`."""

    remembered = False
    renewable = False
    execution = ""

    def __init__(self, vertex: Vertex, context: StepContext) -> None:
        assert isinstance(vertex.op, SourceOp)
        self._op = vertex.op
        self._platform = vertex.constraints.platform
        self._context = context
        self.op: Digest = vertex.digest
        self.served = False

    async def reads(self, inputs: Sequence[Result]) -> tuple[KeyInput, ...]:
        return ()

    async def run(self, inputs: Sequence[Result], progress: Progress) -> tuple[Result, ...]:
        source = self._context.sources.get(self._op.scheme)
        if source is None:
            known = ", ".join(sorted(self._context.sources))
            raise Unsupported(
                f"fetch {self._op.identifier}: no source for {self._op.scheme}://", hint=f"known: {known}"
            )
        fetched = await source.fetch(self._op, self._platform, progress)
        self.served = fetched.served
        self._context.source_keys[self.op] = fetched.cache_keys
        return (fetched.result,)
