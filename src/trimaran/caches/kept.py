"""What shared caches gave and this store kept: found again when those caches are not named, or cannot be reached.

A record of ours says what a step read. Of a result that others made nobody here may know that: what lies below it was
perhaps never made (`mode=min`). So it is kept under what the graph says it is, in BuildKit's terms: its op, and per
input that input's own key, or of a client's folder the content that is read. Law: a kept record is as good as its
layers (it goes with the first of them that goes), and serves only where no record of our own does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from trimaran.caches.cache_map import Dependency, cache_map, record_digest
from trimaran.caches.contents import Contents
from trimaran.digest import Digest
from trimaran.graph.vertex import Edge, Vertex
from trimaran.platforms import Platform
from trimaran.solver.keys import key_of
from trimaran.solver.protocols import Account, CacheRecord, KeyInput, Matches, Result
from trimaran.store.layers import LayerId
from trimaran.store.records import SHARED
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store

NO_MATCHES: Matches = frozenset()


class Definition(msgspec.Struct, frozen=True):
    """What an output is by the graph: its op as BuildKit names it, and what each input is."""

    op: Digest
    inputs: tuple[KeyInput, ...]

    @property
    def key(self) -> Digest:
        return key_of(self.op, self.inputs)


class Definitions:
    """Of one build's vertices; each is `seen` after its inputs. `excluded`: what is never to be kept."""

    def __init__(
        self,
        contents: Contents,
        source_keys: Mapping[Digest, tuple[str, ...]],
        host: Platform,
        excluded: Callable[[Vertex], bool],
    ) -> None:
        self._contents = contents
        self._source_keys = source_keys
        self._host = host
        self._excluded = excluded
        self._known: dict[tuple[Digest, int], Definition] = {}

    def of(self, vertex: Vertex, output: int) -> Definition | None:
        """None for what only its content names: a client's folder, and steps that are made anew."""
        return self._known.get((vertex.digest, output))

    def ops(self, vertex: Vertex) -> list[Digest]:
        """What its outputs are called whatever they read."""
        mapped = cache_map(vertex, self._host)
        return [record_digest(digest, output) for digest in mapped.digests for output in range(vertex.outputs)]

    async def see(self, vertex: Vertex, results: Sequence[Result | None]) -> None:
        """`results` are of its inputs, as far as they are known."""
        if vertex.hints.ignore_cache or self._excluded(vertex):
            return
        mapped = cache_map(vertex, self._host, self._source_keys.get(vertex.digest, ()))
        if not mapped.digests:
            return
        inputs = []
        for number, (edge, dependency) in enumerate(zip(vertex.inputs, mapped.inputs, strict=True)):
            value = await self._input(edge, dependency, results[number])
            if value is None:
                return
            inputs.append(KeyInput(f"input {number}", value, number))
        for output in range(vertex.outputs):
            op = record_digest(mapped.digests[-1], output)  # of an image: by its layers, whatever it is called
            self._known[vertex.digest, output] = Definition(op, tuple(inputs))

    async def _input(self, edge: Edge, dependency: Dependency, result: Result | None) -> str | None:
        """By definition wherever there is one, so that it does not matter how much of a graph was made."""
        below = self.of(edge.vertex, edge.index)
        if below is not None:
            return f"{dependency.selector} {below.key}"
        if dependency.reads is None or result is None:
            return None
        return await self._contents.digest(result, dependency.reads)


class KeptResults:
    """See `solver.protocols.SharedCache`. Its matches are below zero, so that they can stand beside those of links."""

    def __init__(self, store: Store, definitions: Definitions) -> None:
        self._store = store
        self._definitions = definitions
        self._wanted: set[Digest] = set()
        self._found: list[Definition] = []
        self._promised: dict[LayerId, set[Digest]] = {}
        self._gone: set[LayerId] = set()

    def expect(self, order: Sequence[Vertex]) -> None:
        """Nothing is hashed for a graph of which no op was ever kept."""
        for vertex in reversed(order):
            if vertex.digest in self._wanted or self._was_kept(vertex):
                self._wanted.update((vertex.digest, *(edge.vertex.digest for edge in vertex.inputs)))

    def _was_kept(self, vertex: Vertex) -> bool:
        """Whether a result of this op is kept, whatever it read."""
        alike = self._store.records.alike
        return bool(vertex.inputs) and any(alike(op, 1) for op in self._definitions.ops(vertex))

    async def match(
        self, vertex: Vertex, inputs: Sequence[Matches], results: Sequence[Result | None]
    ) -> tuple[Matches, ...]:
        if vertex.digest not in self._wanted:
            return (NO_MATCHES,) * vertex.outputs
        await self._definitions.see(vertex, results)
        return tuple(self._number(self._definitions.of(vertex, output)) for output in range(vertex.outputs))

    def _number(self, definition: Definition | None) -> Matches:
        if definition is None:
            return NO_MATCHES
        self._found.append(definition)
        return frozenset([-len(self._found)])

    def restore(self, matches: Sequence[Matches]) -> tuple[Result, ...] | None:
        records = [self._record(each) for each in matches]
        stacks = [tuple(map(LayerId, record.results[0])) for record in records if record is not None]
        if len(stacks) < len(records) or not all(self._is_here(layer) for stack in stacks for layer in stack):
            return None
        for record, stack in zip(records, stacks, strict=True):
            assert record is not None
            for layer in stack:
                self._promised.setdefault(layer, set()).add(record.key)
        return tuple(Rootfs(stack) for stack in stacks)

    def _is_here(self, layer: LayerId) -> bool:
        return layer not in self._gone and self._store.layers.present(layer)

    def _record(self, matches: Matches) -> CacheRecord | None:
        keys = [self._found[-number - 1].key for number in sorted(matches) if number < 0]
        return next((record for key in keys if (record := self._store.records.find(key)) is not None), None)

    def origin(self, matches: Sequence[Matches]) -> str:
        records = [self._record(each) for each in matches]
        return next((record.origin for record in records if record is not None), "")

    def gone(self, part: str) -> str | None:
        """Its records are dropped: what they promise is not there."""
        layer = LayerId(part)
        self._gone.add(layer)
        keys = self._promised.pop(layer, set())
        for key in keys:
            self._store.records.drop(key)
        return "" if keys else None


def keep(store: Store, definition: Definition, result: Result, origin: str, description: str) -> None:
    """Remember what `origin` gave, if it is here."""
    if not isinstance(result, Rootfs) or not all(store.layers.is_here(layer) for layer in result.layers):
        return
    known = store.records.peek(definition.key)
    if known is not None and known.results == (result.layers,):
        return
    record = CacheRecord(
        key=definition.key,
        op=definition.op,
        inputs=definition.inputs,
        results=(result.layers,),
        description=description,
        created=time.time_ns(),
        account=Account(place=SHARED),
        origin=origin,
    )
    store.records.save(record)
