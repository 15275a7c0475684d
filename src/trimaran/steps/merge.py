"""How MergeOp and DiffOp run: stacks are joined and cut; no byte is touched."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.errors import Unsupported
from trimaran.events import Progress
from trimaran.graph.ops import DiffOp, MergeOp
from trimaran.graph.vertex import Vertex
from trimaran.solver.protocols import KeyInput, Result
from trimaran.steps.context import StepContext
from trimaran.steps.identity import plain_identity
from trimaran.store.layers import LayerId
from trimaran.store.rootfs import Rootfs


class MergeStep:
    """The inputs' layers on top of each other, first input lowest. See `solver.protocols.Step`."""

    remembered = False
    execution = ""
    served = False

    def __init__(self, vertex: Vertex, context: StepContext) -> None:
        assert isinstance(vertex.op, MergeOp)
        self._op = vertex.op
        self.op = plain_identity(b"merge", vertex.op)

    async def reads(self, inputs: Sequence[Result]) -> tuple[KeyInput, ...]:
        return ()

    async def run(self, inputs: Sequence[Result], progress: Progress) -> tuple[Result, ...]:
        layers: list[LayerId] = []
        for number in self._op.inputs:
            if number >= 0:
                part = inputs[number]
                assert isinstance(part, Rootfs)
                layers.extend(part.layers)
        return (Rootfs(tuple(layers)),)


class DiffStep:
    """The layers `upper` has above `lower`. See `solver.protocols.Step`."""

    remembered = False
    execution = ""
    served = False

    def __init__(self, vertex: Vertex, context: StepContext) -> None:
        assert isinstance(vertex.op, DiffOp)
        self._op = vertex.op
        self.op = plain_identity(b"diff", vertex.op)

    async def reads(self, inputs: Sequence[Result]) -> tuple[KeyInput, ...]:
        return ()

    async def run(self, inputs: Sequence[Result], progress: Progress) -> tuple[Result, ...]:
        lower = inputs[self._op.lower] if self._op.lower >= 0 else Rootfs(())
        upper = inputs[self._op.upper] if self._op.upper >= 0 else Rootfs(())
        assert isinstance(lower, Rootfs)
        assert isinstance(upper, Rootfs)
        if upper.layers[: len(lower.layers)] != lower.layers:
            raise Unsupported(
                "diff two roots: the upper one is not built on the lower one", hint="diff along one stage"
            )
        return (Rootfs(upper.layers[len(lower.layers) :]),)
