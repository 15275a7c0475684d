"""Imported caches as the solver asks them: `solver.protocols.SharedCache` over links, restored as layers of the store.

Law: a hit is a promise. Nothing is fetched for it but what a content key needs; a blob that turns out gone, or to be
other bytes than promised, is ResultGone: that promise is forgotten, told of once, and the step runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from trimaran.caches.cache_map import CacheMap, Dependency, cache_map
from trimaran.caches.contents import Contents
from trimaran.caches.links import NO_MATCHES, FoundResult, Links, Matches, RemoteLayer
from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound, TrimaranError
from trimaran.graph.vertex import Vertex
from trimaran.oci.blobs import CHUNK, Blobs, Reader, Sink
from trimaran.oci.descriptor import Descriptor
from trimaran.platforms import Platform
from trimaran.solver.protocols import Result, ResultGone
from trimaran.store.layers import LayerId
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store


class ImportedCaches:
    """See `solver.protocols.SharedCache`. `source_keys` is filled by the steps of sources as they are resolved.

    `excluded` says of which vertices BuildKit's keys say too little.
    """

    def __init__(
        self,
        links: Links,
        store: Store,
        contents: Contents,
        source_keys: Mapping[Digest, tuple[str, ...]],
        host: Platform,
        warn: Callable[[str], None],
        excluded: Callable[[Vertex], bool] = lambda _: False,
    ) -> None:
        self._links = links
        self._store = store
        self._contents = contents
        self._source_keys = source_keys
        self._host = host
        self._warn = warn
        self._excluded = excluded
        self._gone: set[LayerId] = set()
        self._origins: dict[LayerId, str] = {}
        self._causes: dict[LayerId, str] = {}

    def expect(self, order: Sequence[Vertex]) -> None:
        """Nothing to prepare: every look up costs the same."""

    async def match(
        self, vertex: Vertex, inputs: Sequence[Matches], results: Sequence[Result | None]
    ) -> tuple[Matches, ...]:
        if self._excluded(vertex):
            return (NO_MATCHES,) * vertex.outputs
        mapped = cache_map(vertex, self._host, self._source_keys.get(vertex.digest, ()))
        return tuple([await self._match(mapped, output, inputs, results) for output in range(vertex.outputs)])

    async def _match(
        self, mapped: CacheMap, output: int, inputs: Sequence[Matches], results: Sequence[Result | None]
    ) -> Matches:
        if not mapped.inputs:
            return self._links.sources(mapped.digests, output)
        if not self._links.knows(mapped.digests, output):
            return NO_MATCHES
        (digest,) = mapped.digests
        found: Matches | None = None
        for number, dependency in enumerate(mapped.inputs):
            here = self._links.readers(digest, output, number, dependency, inputs[number])
            if found is None or not found & here:  # the content is only hashed where definitions do not decide
                here |= await self._by_content(digest, output, number, dependency, results[number])
            found = here if found is None else found & here
            if not found:
                return NO_MATCHES
        return found or NO_MATCHES

    async def _by_content(
        self, digest: Digest, output: int, number: int, dependency: Dependency, result: Result | None
    ) -> Matches:
        if dependency.reads is None or result is None:
            return NO_MATCHES
        content = await self._contents.digest(result, dependency.reads)
        return NO_MATCHES if content is None else self._links.content_readers(digest, output, number, content)

    def restore(self, matches: Sequence[Matches]) -> tuple[Result, ...] | None:
        """One result per output; None when one has none that can be had."""
        stacks = [self._stack(each) for each in matches]
        results = tuple(Rootfs(stack) for stack in stacks if stack is not None)
        return results if len(results) == len(stacks) else None

    def origin(self, matches: Sequence[Matches]) -> str:
        promises = self.promises(matches)
        return promises[0].origin if promises else ""

    def promises(self, matches: Sequence[Matches]) -> list[FoundResult]:
        """What `restore` would give; nothing when one output has none."""
        found = [self._promise(each) for each in matches]
        promises = [promise for promise in found if promise is not None]
        return promises if len(promises) == len(found) else []

    def _promise(self, matches: Matches) -> FoundResult | None:
        for result in self._links.results(matches):
            if not any(LayerId(layer.diff_id) in self._gone for layer in result.layers):
                return result
        return None

    def _stack(self, matches: Matches) -> tuple[LayerId, ...] | None:
        promise = self._promise(matches)
        return None if promise is None else tuple(self._register(layer, promise) for layer in promise.layers)

    def _register(self, layer: RemoteLayer, result: FoundResult) -> LayerId:
        layers = self._store.layers
        name = LayerId(layer.diff_id)
        if layers.present(name):
            return name
        self._origins[name] = result.origin
        source = _PromisedBlobs(layer.source, name, self._causes)
        return layers.register_remote(layer.diff_id, layer.descriptor, source, layer.repository)

    def root_links(self, matches: Sequence[Matches]) -> list[tuple[int, str, str]]:
        """See `Links.root_links`: what a cache that is exported again has to say of what nobody had to make."""
        return self._links.root_links(frozenset().union(*matches))

    def gone(self, part: str) -> str | None:
        """A promised layer is not there: its promises are forgotten. Who promised it, the first time."""
        layer = LayerId(part)
        origin = self._origins.pop(layer, None)
        if origin is not None and layer not in self._gone:
            self._gone.add(layer)
            self._store.layers.forget_remote(layer)
            self._warn(f"record found in {origin} but its blob {self._causes.get(layer, _GONE)}")
            return origin
        return None


_GONE = "is gone"


class _PromisedBlobs:
    """Blobs of a cache: what cannot be read there is a promise that was not kept, not an error of the build."""

    def __init__(self, source: Blobs, layer: LayerId, causes: dict[LayerId, str]) -> None:
        self._source = source
        self._layer = layer
        self._causes = causes

    def broken(self, error: TrimaranError) -> ResultGone:
        """What to raise for `error`, whose cause is kept for the person."""
        words = f"is not what it promises: {error}" if isinstance(error, Corrupt) else f"cannot be read: {error}"
        self._causes[self._layer] = _GONE if isinstance(error, NotFound) else words
        return ResultGone(self._layer)

    async def has(self, descriptor: Descriptor) -> bool:
        return await self._source.has(descriptor)

    @asynccontextmanager
    async def read(self, descriptor: Descriptor) -> AsyncIterator[Reader]:
        async with AsyncExitStack() as stack:
            try:
                reader = await stack.enter_async_context(self._source.read(descriptor))
            except TrimaranError as error:
                raise self.broken(error) from error
            yield _PromisedReader(reader, self)

    @asynccontextmanager
    async def ingest(self, media_type: str, expected: Descriptor | None = None) -> AsyncIterator[Sink]:
        async with self._source.ingest(media_type, expected) as sink:
            yield sink


class _PromisedReader:
    def __init__(self, reader: Reader, blobs: _PromisedBlobs) -> None:
        self._reader = reader
        self._blobs = blobs

    async def read(self, size: int = CHUNK) -> bytes:
        try:
            return await self._reader.read(size)
        except TrimaranError as error:
            raise self._blobs.broken(error) from error
