"""The records of imported caches as one graph of links, in which matches of a vertex are looked up.

Pure. A *node* is a record; records without inputs are one node in all caches, so that what hangs on them meets. A look
up costs the matches of the inputs, whatever the size of the cache; nothing walks the graph, so circles do no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from trimaran.caches.cache_map import CONTENT, Dependency, record_digest
from trimaran.caches.config import CacheConfig, CacheResult
from trimaran.digest import Digest
from trimaran.oci.blobs import Blobs
from trimaran.oci.descriptor import Descriptor

Matches = frozenset[int]
NO_MATCHES: Matches = frozenset()


class RemoteLayer(msgspec.Struct, frozen=True):
    """A layer of a cache: its blob, its content's digest, and where it can be read."""

    descriptor: Descriptor
    diff_id: Digest
    source: Blobs
    repository: str = ""
    """A registry's repository that holds it, to be remembered."""


class FoundResult(msgspec.Struct, frozen=True):
    """What a record promises; `origin` is the cache's name for people."""

    layers: tuple[RemoteLayer, ...]
    created: str
    origin: str


class Links:
    def __init__(self) -> None:
        self._roots: dict[str, int] = {}
        self._readers: dict[tuple[int, int, str, str], list[int]] = {}
        self._results: dict[int, list[tuple[_Cache, CacheResult]]] = {}
        self._digests: set[str] = set()
        self._root_links: dict[int, set[tuple[int, str, str]]] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._digests)

    def add(self, config: CacheConfig, layers: Sequence[RemoteLayer | None], origin: str) -> None:
        """One cache; `layers` in the config's order, None for those that cannot be had."""
        cache = _Cache(config, layers, origin)
        nodes = []
        for record in config.records:
            if not record.inputs and record.digest not in self._roots:
                self._roots[record.digest] = self._new()
            nodes.append(self._new() if record.inputs else self._roots[record.digest])
        for node, record in zip(nodes, config.records, strict=True):
            self._digests.add(record.digest)
            for number, links in enumerate(record.inputs):
                for link in links:
                    key = (nodes[link.link], number, link.selector, record.digest)
                    self._readers.setdefault(key, []).append(node)
                    source = config.records[link.link]
                    if not source.inputs:
                        self._root_links.setdefault(node, set()).add((number, link.selector, source.digest))
            for result in record.results:
                self._results.setdefault(node, []).append((cache, result))

    def _new(self) -> int:
        self._count += 1
        return self._count

    def knows(self, digests: Iterable[Digest], output: int) -> bool:
        """Whether there is any record of the op: if not, nothing need be hashed to look for one."""
        return any(record_digest(digest, output) in self._digests for digest in digests)

    def sources(self, digests: Iterable[Digest], output: int = 0) -> Matches:
        """Records of an op without inputs."""
        found = (self._roots.get(record_digest(digest, output)) for digest in digests)
        return frozenset(node for node in found if node is not None)

    def content(self, digest: Digest) -> Matches:
        """Records that stand for content."""
        return self.sources([digest], CONTENT)

    def readers(self, digest: Digest, output: int, number: int, dependency: Dependency, matches: Matches) -> Matches:
        """Records of the op that hang with input `number` on `matches`."""
        return self._of_input(matches, number, dependency.selector, record_digest(digest, output))

    def content_readers(self, digest: Digest, output: int, number: int, content: Digest) -> Matches:
        """Records of the op that hang with input `number` on that content."""
        return self._of_input(self.content(content), number, "", record_digest(digest, output))

    def _of_input(self, matches: Matches, number: int, selector: str, digest: str) -> Matches:
        found: set[int] = set()
        for node in matches:
            found.update(self._readers.get((node, number, selector, digest), ()))
        return frozenset(found)

    def root_links(self, matches: Matches) -> list[tuple[int, str, str]]:
        """(input, selector, record) of links of these records to sources and contents."""
        return sorted({link for node in matches for link in self._root_links.get(node, ())})

    def results(self, matches: Matches) -> list[FoundResult]:
        """Promises of these records whose layers can be had, the newest first."""
        promised = [each for node in matches for each in self._results.get(node, ())]
        promised.sort(key=lambda each: (each[1].created, each[0].origin), reverse=True)
        found = []
        for cache, result in promised:
            stack = [cache.layers[index] for index in cache.config.stack(result)]
            layers = tuple(layer for layer in stack if layer is not None)
            if len(layers) == len(stack):
                found.append(FoundResult(layers, result.created, cache.origin))
        return found


class _Cache(msgspec.Struct, frozen=True):
    config: CacheConfig
    layers: Sequence[RemoteLayer | None]
    origin: str
