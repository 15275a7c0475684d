"""Steps without processes: what ran is a list of names, results are stacks of made-up layers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from trimaran.digest import Digest
from trimaran.events import Event, Progress
from trimaran.graph.ops import SourceOp
from trimaran.graph.vertex import Edge, Hints, Vertex
from trimaran.solver.protocols import CacheRecord, KeyInput, Result, ResultGone
from trimaran.solver.solver import Solver


class Stack(msgspec.Struct, frozen=True):
    layers: tuple[str, ...]

    @property
    def id(self) -> str:
        return "/".join(self.layers)


def vertex(name: str, *inputs: Vertex, ignore_cache: bool = False, tag: str = "") -> Vertex:
    """`name` is what is done; `tag` tells vertices apart that do the same."""
    return Vertex(
        SourceOp(f"test://{name}", (("tag", tag),)),
        tuple(Edge(one) for one in inputs),
        hints=Hints(name=name, ignore_cache=ignore_cache),
    )


class World:
    """What outlives one solver: records, layers that exist, contents, and the list of what ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.records: dict[Digest, CacheRecord] = {}
        self.layers: set[str] = set()
        self.content: dict[str, str] = {}
        self.locks: dict[Digest, asyncio.Lock] = {}
        self.events: list[Event] = []
        self.outcome: Callable[[str, int], str] = lambda name, count: f"{name}"
        self.fails: set[str] = set()
        self.delay: dict[str, float] = {}
        self.cancelled: list[str] = []
        self.vanishes: Callable[[str], bool] = lambda name: False
        """Whether the layer that a step of that name gives is gone as soon as it is made."""
        self.count = 0

    def solver(self) -> Solver:
        return Solver(make_step=lambda v: FakeStep(v, self), index=self, results=self, sink=self.events.append)

    # Index
    def find(self, key: Digest) -> CacheRecord | None:
        return self.records.get(key)

    def alike(self, op: Digest) -> Sequence[CacheRecord]:
        return [record for record in reversed(self.records.values()) if record.op == op]

    def save(self, record: CacheRecord, pages: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.records.pop(record.key, None)
        self.records[record.key] = record

    def drop(self, key: Digest) -> None:
        self.records.pop(key, None)

    @asynccontextmanager
    async def lock(self, key: Digest) -> AsyncIterator[None]:
        async with self.locks.setdefault(key, asyncio.Lock()):
            yield

    # Results
    def restore(self, record: CacheRecord) -> tuple[Result, ...] | None:
        return tuple(Stack(parts) for parts in record.results)

    def gone(self, part: str) -> None:
        pass  # nothing is kept of what was found

    def parts(self, result: Result) -> tuple[str, ...]:
        assert isinstance(result, Stack)
        return result.layers

    async def adopt(self, earlier: CacheRecord, now: tuple[Result, ...]) -> tuple[Result, ...]:
        (parts,) = earlier.results
        (result,) = now
        assert isinstance(result, Stack)
        if parts[-1] in self.layers and self.content.get(parts[-1]) == self.content.get(result.layers[-1]):
            return (Stack((*result.layers[:-1], parts[-1])),)
        return now


class FakeStep:
    renewable = False
    execution = ""
    served = False

    def __init__(self, v: Vertex, world: World) -> None:
        assert isinstance(v.op, SourceOp)
        self.name = v.hints.name
        self.world = world
        self.remembered = not self.name.startswith("local")
        self.op = Digest.of(v.op.identifier.encode())

    async def reads(self, inputs: Sequence[Result]) -> tuple[KeyInput, ...]:
        return tuple(KeyInput(f"input {n}", one.id) for n, one in enumerate(inputs))

    async def run(self, inputs: Sequence[Result], progress: Progress) -> tuple[Result, ...]:
        world = self.world
        for one in inputs:
            assert isinstance(one, Stack)
            for layer in one.layers:
                if layer not in world.layers:
                    raise ResultGone(layer)
        world.ran.append(self.name)
        try:
            await asyncio.sleep(world.delay.get(self.name, 0))
        except asyncio.CancelledError:
            world.cancelled.append(self.name)
            raise
        if self.name in world.fails:
            raise RuntimeError(f"{self.name} failed")
        world.count += 1
        layer = f"{self.name}#{world.count}"
        if not world.vanishes(self.name):
            world.layers.add(layer)
        world.content[layer] = world.outcome(self.name, world.count)
        below = inputs[0].layers if inputs and isinstance(inputs[0], Stack) else ()
        return (Stack((*below, layer)),)
