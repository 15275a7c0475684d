"""An ExecOp as a step: its identity, what it reads, what has to be allowed (what running takes: `process.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimaran.events import Progress
from trimaran.graph.ops import ExecOp, NetMode, SecurityMode
from trimaran.graph.vertex import Vertex
from trimaran.solver.protocols import KeyInput, Result
from trimaran.steps.context import StepContext
from trimaran.steps.identity import exec_op_identity
from trimaran.steps.mount_reads import ROOT, lists, reads, secret_reads

if TYPE_CHECKING:
    from trimaran.executor.spec import Network, Security
    from trimaran.store.entries import EntryList

NETWORK: dict[NetMode, Network] = {NetMode.UNSET: "default", NetMode.HOST: "host", NetMode.NONE: "none"}
SECURITY: dict[SecurityMode, Security] = {SecurityMode.SANDBOX: "sandbox", SecurityMode.INSECURE: "insecure"}


class ExecStep:
    """See `solver.protocols.Step`."""

    remembered = True
    renewable = False
    served = False

    def __init__(self, vertex: Vertex, context: StepContext) -> None:
        assert isinstance(vertex.op, ExecOp)
        self._vertex = vertex
        self._op = vertex.op
        self._context = context
        isolation = context.sandbox.isolation
        weaker = "" if isolation.kind == "container" else isolation.kind
        self.op = exec_op_identity(self._op, vertex.constraints.platform, weaker)
        self.execution = ""
        context.sandbox.require(network=NETWORK[self._op.network], security=SECURITY[self._op.security])

    async def reads(self, inputs: Sequence[Result]) -> tuple[KeyInput, ...]:
        """The id of the root it runs on, of which it may read anything, and what is shown of the other inputs."""
        roots = sorted({mount.input for mount in self._op.mounts if mount.dest == ROOT and mount.input >= 0})
        own = [KeyInput(f"rootfs {number}", inputs[number].id, number) for number in roots]
        secret = await secret_reads(self._op, self._context)
        return (*own, *await reads(self._op, inputs, self._context), *secret)

    async def lists(self, inputs: Sequence[Result]) -> dict[int, EntryList]:
        """What `reads` read file by file, by its number there."""
        read = await self.reads(inputs)
        first = sum(part.name.startswith("rootfs ") for part in read)
        found = await lists(self._op, inputs, self._context)
        return {first + number: each for number, each in enumerate(found) if each is not None}

    async def run(self, inputs: Sequence[Result], progress: Progress) -> tuple[Result, ...]:
        from trimaran.steps.process import Process

        process = Process(self._op, self._vertex, self._context)
        try:
            return await process.run(inputs, progress)
        finally:
            self.execution = process.execution
