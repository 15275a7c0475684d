"""How a MergeOp runs: stacks are joined; no byte is touched."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.events import Progress
from trimaran.graph.ops import MergeOp
from trimaran.graph.vertex import Vertex
from trimaran.solver.protocols import KeyInput, Result
from trimaran.steps.context import StepContext
from trimaran.steps.identity import plain_identity
from trimaran.store.layers import LayerId
from trimaran.store.rootfs import Rootfs


class MergeStep:
    """The inputs' layers on top of each other, first input lowest. See `solver.protocols.Step`."""

    remembered = False
    renewable = False
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
