"""Working ahead: layers that an export will need are made blobs and sent while later steps still run.

Law: the build goes first. What is done here is done by threads of low priority, one layer compressed and few sent at a
time, and no error of it is one of the build: the export does again, and tells, what failed here. It begins when a step
had to run (before that the cache may be what it was), and reads no layer that is not on this machine anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from trimaran import aio
from trimaran.caches.collecting import NOTHING
from trimaran.caches.options import CacheMode
from trimaran.caches.sending import Sending
from trimaran.digest import Digest
from trimaran.errors import TrimaranError
from trimaran.graph import ops
from trimaran.graph.vertex import Edge, Vertex
from trimaran.solver.plan import reachable
from trimaran.store.compression import Compression
from trimaran.store.layers import LayerId, Layers
from trimaran.store.rootfs import Rootfs

_PARALLEL = 2
"""Layers worked on at a time: one is sent while the next one is compressed."""

Output = tuple[Digest, int]
"""(a vertex, the number of its output)."""


def surely_exported(edges: Sequence[Edge], mode: CacheMode) -> set[Output]:
    """Outputs whose layers are in every cache of that mode, whatever they turn out to be. Pure.

    `max`: of all steps. `min`: those that the final images stand on.
    """
    if mode == "max":
        return {
            (vertex.digest, output)
            for vertex in reachable(edges)
            if not isinstance(vertex.op, ops.SourceOp)
            for output in range(vertex.outputs)
        }
    found: set[Output] = set()
    waiting = list(edges)
    while waiting:
        edge = waiting.pop()
        if (edge.vertex.digest, edge.index) not in found and not isinstance(edge.vertex.op, ops.SourceOp):
            found.add((edge.vertex.digest, edge.index))
            waiting.extend(edge.vertex.inputs[number] for number in _bases(edge.vertex, edge.index))
    return found


def _bases(vertex: Vertex, output: int) -> list[int]:
    """The inputs whose layers are below those of this output, or are all of it."""
    op = vertex.op
    if isinstance(op, ops.MergeOp):
        return [number for number in op.inputs if number >= 0]
    if isinstance(op, ops.ExecOp):
        return [mount.input for mount in op.mounts if mount.output == output and mount.input >= 0]
    if not isinstance(op, ops.FileOp):
        return []
    count = len(vertex.inputs)
    number = next((n for n, action in enumerate(op.actions) if action.output == output), -1) + count
    for _ in op.actions:  # each works on an earlier one, or on an input
        if number >= count:
            number = op.actions[number - count].input
    return [number] if 0 <= number < count else []


class Ahead:
    """See the module. `gives` and `runs` are told by the solver; `work` is run beside the build and never ends."""

    def __init__(self, layers: Layers, sendings: Sequence[Sending], edges: Sequence[Edge]) -> None:
        self._layers = layers
        modes = {sending.export.mode for sending in sendings}
        self._wanted: Mapping[CacheMode, set[Output]] = {mode: surely_exported(edges, mode) for mode in modes}
        self._lines = [_Line(layers, sending) for sending in sendings]
        self._begun = False
        self._changed = asyncio.Event()
        self._making = asyncio.Semaphore(1)

    def runs(self) -> None:
        """A step runs whose result nobody had."""
        self._begun = True
        self._changed.set()

    def rest(self) -> None:
        """Begin with nothing more: the build waits for the export now, which is not done in the background."""
        self._begun = False

    def gives(self, vertex: Vertex, results: Sequence[object]) -> None:
        for output, result in enumerate(results):
            if isinstance(result, Rootfs):
                for line in self._lines:
                    if (vertex.digest, output) in self._wanted[line.mode]:
                        line.add(result.layers)
        self._changed.set()

    async def work(self) -> None:
        await aio.all_of(self._work() for _ in range(_PARALLEL))

    async def _work(self) -> None:
        while True:
            found = self._next()
            if found is None:
                self._changed.clear()
                await self._changed.wait()
            else:
                line, layer = found
                await line.take(layer, self._making)

    def _next(self) -> tuple[_Line, LayerId] | None:
        for line in self._lines if self._begun else ():
            layer = line.next()
            if layer is not None:
                return line, layer
        return None


class _Line:
    """What one export needs, and has not begun with."""

    def __init__(self, layers: Layers, sending: Sending) -> None:
        export = sending.export
        self.mode = export.mode
        self._layers = layers
        self._sending = sending
        self._compression = Compression(export.compression, export.level)
        self._seen = {NOTHING}
        self._waiting: dict[LayerId, None] = {}
        self._failed = False

    def add(self, stack: Sequence[LayerId]) -> None:
        """Each layer once: what is below one that was seen was seen, too."""
        new = []
        for layer in reversed(stack):
            if layer in self._seen and layer != NOTHING:
                break
            new.append(layer)
        for layer in reversed(new):
            if layer not in self._seen:
                self._seen.add(layer)
                self._waiting[layer] = None

    def next(self) -> LayerId | None:
        """The lowest that is on this machine; the others may come when a step needs them."""
        found = None if self._failed else next((each for each in self._waiting if self._layers.is_here(each)), None)
        if found is not None:
            del self._waiting[found]
        return found

    async def take(self, layer: LayerId, making: asyncio.Semaphore) -> None:
        export = self._sending.export
        try:
            if not self._layers.is_rendered(layer):
                await self._layers.entries(layer)  # steps may wait for the list: it is not made in the background
            async with making:
                with aio.in_background():
                    made = await self._layers.blob(layer, self._compression, force=export.force_compression, spare=True)
            if self._sending.may_begin_early:
                with aio.in_background():
                    await self._sending.send(made.descriptor.plain())
        except (TrimaranError, OSError):
            self._failed = True
