"""From a build that is done to the records of its cache: each vertex under BuildKit's digest, with what it gave.

`mode=min` keeps results whose layers are in the final images, `max` those of all steps. What an imported cache promised
and nobody had to make is carried over: its links, and its layers as they lie there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from trimaran import aio
from trimaran.caches.cache_map import CONTENT, CacheMap, cache_map, record_digest
from trimaran.caches.chains import ChainLayer, ChainResult, Chains
from trimaran.caches.contents import Contents
from trimaran.caches.options import CacheMode
from trimaran.digest import Digest
from trimaran.graph.ops import SourceOp
from trimaran.graph.vertex import Edge, Vertex
from trimaran.oci.documents import go_time
from trimaran.platforms import Platform
from trimaran.solver.plan import reachable
from trimaran.solver.protocols import Result
from trimaran.store.compression import Compression
from trimaran.store.entries import EMPTY
from trimaran.store.layers import LayerId
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store

Describe = Callable[[Sequence[LayerId]], Awaitable[Mapping[LayerId, ChainLayer]]]
"""What layers are in a cache; those that are left out are left out of results."""
NOTHING = LayerId(EMPTY.digest)
"""A step that changed nothing adds no layer to a cache."""


class Solved(Protocol):
    """What a solver knows of its vertices after a build."""

    def known(self, vertex: Vertex) -> tuple[Result, ...] | None:
        """Made, found or promised; None for what nobody had to make."""
        ...

    def root_links(self, vertex: Vertex) -> Sequence[tuple[int, str, str]]:
        """(input, selector, root record) of links that an imported cache has of it."""
        ...


class Collector:
    """One build's records; the same for every export of one mode and compression."""

    def __init__(
        self,
        store: Store,
        contents: Contents,
        source_keys: Mapping[Digest, tuple[str, ...]],
        host: Platform,
        solved: Solved,
    ) -> None:
        self._store = store
        self._contents = contents
        self._source_keys = source_keys
        self._host = host
        self._solved = solved

    async def collect(self, edges: Sequence[Edge], mode: CacheMode, describe: Describe) -> Chains:
        """Records of all that `edges` need; `describe` says what a layer is in this cache."""
        order = reachable(edges)
        wanted = self._wanted(order, edges, mode)
        layers = await describe(list(dict.fromkeys(layer for stack in wanted.values() for layer in stack)))
        chains = Chains()
        nodes: dict[tuple[Digest, int], tuple[int, ...]] = {}
        for vertex in order:
            mapped = cache_map(vertex, self._host, self._source_keys.get(vertex.digest, ()))
            inputs = await self._links(vertex, mapped, chains, nodes)
            for output in range(vertex.outputs):
                digests = [record_digest(digest, output) for digest in mapped.digests]
                if not vertex.inputs:
                    nodes[vertex.digest, output] = tuple(chains.root(digest) for digest in digests)
                elif inputs is not None:
                    result = _result(wanted.get((vertex.digest, output), ()), layers)
                    nodes[vertex.digest, output] = tuple(chains.add(digest, inputs, result) for digest in digests)
        return chains

    def _wanted(
        self, order: Sequence[Vertex], edges: Sequence[Edge], mode: CacheMode
    ) -> dict[tuple[Digest, int], tuple[LayerId, ...]]:
        """The results to export, by vertex and output."""
        finals = [self._stack(edge.vertex, edge.index) or () for edge in edges]
        prefixes = {final[:length] for final in finals for length in range(1, len(final) + 1)}
        wanted = {}
        for vertex in order:
            for output in range(vertex.outputs):
                if isinstance(vertex.op, SourceOp):
                    continue  # an image is where it came from
                stack = self._stack(vertex, output)
                if stack and (mode == "max" or stack in prefixes):
                    wanted[vertex.digest, output] = stack
        return wanted

    def _stack(self, vertex: Vertex, output: int) -> tuple[LayerId, ...] | None:
        results = self._solved.known(vertex)
        result = results[output] if results is not None and output < len(results) else None
        return result.layers if isinstance(result, Rootfs) else None

    async def _links(
        self,
        vertex: Vertex,
        mapped: CacheMap,
        chains: Chains,
        nodes: Mapping[tuple[Digest, int], tuple[int, ...]],
    ) -> list[set[tuple[int, str]]] | None:
        """Per input: the records it may be, and its content; None when an input has neither."""
        inputs: list[set[tuple[int, str]]] = []
        for edge, dependency in zip(vertex.inputs, mapped.inputs, strict=True):
            links = {(node, dependency.selector) for node in nodes.get((edge.vertex.digest, edge.index), ())}
            results = self._solved.known(edge.vertex) if dependency.reads is not None else None
            if results is not None and dependency.reads is not None:
                content = await self._contents.digest(results[edge.index], dependency.reads)
                if content is not None:
                    links.add((chains.root(record_digest(content, CONTENT)), ""))
            inputs.append(links)
        for number, selector, root in self._solved.root_links(vertex):
            if number < len(inputs):
                inputs[number].add((chains.root(root), selector))
        return inputs if all(inputs) else None


def _result(stack: tuple[LayerId, ...], layers: Mapping[LayerId, ChainLayer]) -> ChainResult | None:
    described = tuple(layers[layer] for layer in stack if layer in layers)
    return ChainResult(described, described[-1].created) if described else None


def as_blobs(store: Store, compression: Compression, *, force: bool) -> Describe:
    """Layers as blobs that are sent; made side by side where they are none yet.

    Near a limit of the disk the outputs were there before, and nothing but the cache needs them.
    """
    spare = bool(store.ceiling.limit)

    async def describe(layers: Sequence[LayerId]) -> dict[LayerId, ChainLayer]:
        wanted = [layer for layer in layers if layer != NOTHING]
        made = await aio.all_of(store.layers.blob(layer, compression, force=force, spare=spare) for layer in wanted)
        return {
            layer: ChainLayer(
                blob=blob.descriptor.digest,
                media_type=blob.descriptor.media_type,
                diff_id=blob.diff_id,
                size=blob.descriptor.size,
                created=go_time(store.layers.created(layer)),
            )
            for layer, blob in zip(wanted, made, strict=True)
        }

    return describe


def as_heights(store: Store) -> Describe:
    """Layers of an image, which knows its blobs itself: only the order counts."""

    async def describe(layers: Sequence[LayerId]) -> dict[LayerId, ChainLayer]:
        return {
            layer: ChainLayer(
                blob=Digest.of(layer.encode()),
                media_type="",
                diff_id=Digest.of(layer.encode()),
                size=0,
                created=go_time(store.layers.created(layer)),
            )
            for layer in layers
        }

    return describe
