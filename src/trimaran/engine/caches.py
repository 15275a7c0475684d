"""How the recipe and the caches meet: what is imported before a build, what is exported of it after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from trimaran import aio
from trimaran.caches.options import CacheImport, InlineExport, LocalImport
from trimaran.digest import Digest
from trimaran.events import Sink, WarningEvent
from trimaran.graph.ops import ExecOp
from trimaran.solver.plan import reachable
from trimaran.store.layers import LayerId
from trimaran.store.rootfs import Rootfs

if TYPE_CHECKING:
    from trimaran.caches.ahead import Ahead
    from trimaran.caches.collecting import Collector
    from trimaran.caches.config import CacheConfig
    from trimaran.caches.contents import Contents
    from trimaran.caches.imported import ImportedCaches
    from trimaran.caches.kept import Definitions
    from trimaran.caches.sending import Export, Sending
    from trimaran.engine.engine import Engine
    from trimaran.engine.request import BuildRequest
    from trimaran.exporters.assemble import Exportable
    from trimaran.graph.frontend import Built
    from trimaran.graph.vertex import Edge, Vertex
    from trimaran.oci.descriptor import Descriptor
    from trimaran.solver.protocols import Result, SharedCache
    from trimaran.solver.solver import Solver
    from trimaran.sources.given import KeySource
    from trimaran.steps.context import StepContext


class BuildCaches:
    """The shared caches of one build; nothing is loaded for a build that names none."""

    def __init__(
        self,
        request: BuildRequest,
        engine: Engine,
        context: StepContext,
        sink: Sink,
        keys: Mapping[KeySource, bytes],
    ) -> None:
        self._request = request
        self._engine = engine
        self._context = context
        self._sink = sink
        self._keys = keys
        self._imported: ImportedCaches | None = None
        self._sendings: list[Sending] = []
        self._ahead: Ahead | None = None
        self._hashed: Contents | None = None
        self._running = False

    async def shared(self) -> SharedCache | None:
        """What earlier builds kept of shared caches, and what `--cache-from` names; None when that is nothing."""
        imported = await self._import()
        if not self._engine.store.records.has_shared():
            return imported
        from trimaran.caches.kept import KeptResults
        from trimaran.caches.together import Together

        kept = KeptResults(self._engine.store, self._definitions())
        return kept if imported is None else Together([kept, imported])

    async def _import(self) -> ImportedCaches | None:
        imports = self._allowed(self._request.cache_from)
        if not imports:
            return None
        from trimaran.caches.imported import ImportedCaches
        from trimaran.caches.importing import import_caches

        engine, keys = self._engine, self._context.source_keys
        platforms = self._request.frontend.platforms
        links = await import_caches(imports, engine.registry, platforms, self._sink, self._keys)
        if links:
            self._imported = ImportedCaches(
                links, engine.store, self._contents(), keys, engine.host, self._warn, self._counts_secrets
            )
        return self._imported

    def _contents(self) -> Contents:
        """One for the build: what was hashed to find something is not hashed again to write it."""
        if self._hashed is None:
            from trimaran.caches.contents import Contents

            self._hashed = Contents(self._engine.store, self._context.view)
        return self._hashed

    def _definitions(self) -> Definitions:
        from trimaran.caches.kept import Definitions

        return Definitions(self._contents(), self._context.source_keys, self._engine.host, self._counts_secrets)

    def _counts_secrets(self, vertex: Vertex) -> bool:
        """Steps with `--secret …,cache-key=hash`: BuildKit's keys of them say nothing of values that count here."""
        from trimaran.steps.mount_reads import hashed_secrets

        return isinstance(vertex.op, ExecOp) and bool(hashed_secrets(vertex.op, self._context))

    async def keep(self, edges: Sequence[Edge], solver: Solver) -> None:
        """Remember what imported caches gave, as far as it is here: the next build need not name them."""
        if self._imported is None or not solver.shared:
            return
        from trimaran.caches.kept import keep

        definitions = self._definitions()
        for vertex in reachable(edges):
            await definitions.see(vertex, solver.inputs(vertex))
            for output, promise in enumerate(self._imported.promises(solver.matches(vertex))):
                definition = definitions.of(vertex, output)
                if definition is not None:
                    layers = tuple(LayerId(layer.diff_id) for layer in promise.layers)
                    keep(self._engine.store, definition, Rootfs(layers), promise.origin, vertex.hints.name)

    def _allowed(self, imports: Sequence[CacheImport]) -> Sequence[CacheImport]:
        """Offline, folders alone are read."""
        if not self._request.offline:
            return imports
        near = [each for each in imports if isinstance(each, LocalImport)]
        if len(near) < len(imports):
            self._warn("caches that are not folders are not used: the build is offline")
        return near

    def _warn(self, words: str) -> None:
        self._sink(WarningEvent(vertex=Digest.of(b"warnings"), short=words.encode()))

    @property
    def inline(self) -> bool:
        return any(isinstance(export, InlineExport) for export in self._request.cache_to)

    async def with_inline(
        self, parts: Sequence[Exportable], built: Sequence[Built], solver: Solver
    ) -> list[Exportable]:
        """The images to export, each with the records of its own layers in its config."""
        if not self.inline:
            return list(parts)
        from trimaran.caches.collecting import as_heights
        from trimaran.caches.inline import with_records

        collector = self._collector(solver)
        patched = []
        for part, one in zip(parts, built, strict=True):
            config = part.config
            if one.edge is not None:
                chains = await collector.collect([one.edge], "min", as_heights(self._engine.store))
                config = with_records(config, chains.config())
            patched.append(msgspec.structs.replace(part, config=config))
        return patched

    @property
    def are_written(self) -> bool:
        """Whether there is an export that blobs are sent for."""
        return any(not isinstance(export, InlineExport) for export in self._request.cache_to)

    @asynccontextmanager
    async def working_ahead(self, edges: Sequence[Edge], solver: Solver) -> AsyncIterator[None]:
        """While the steps of `edges` run, blobs that `export` will need are made and sent."""
        if not self.are_written:
            yield
            return
        from trimaran.caches.ahead import Ahead
        from trimaran.caches.sending import Sending

        engine = self._engine
        exports = [each for each in self._request.cache_to if not isinstance(each, InlineExport)]
        self._sendings = [Sending(each, engine.store, engine.registry, self._sink, self._keys) for each in exports]
        ahead = self._ahead = Ahead(engine.store.layers, self._sendings, edges)
        if self._running:
            ahead.runs()
        for vertex in reachable(edges):
            ahead.gives(vertex, solver.known(vertex) or ())
        async with aio.TaskGroup() as group:
            working = group.start(ahead.work())
            try:
                yield
            finally:
                working.cancel()

    def runs(self, vertex: Vertex) -> None:
        """See `solver.protocols.Observer`."""
        self._running = True
        if self._ahead is not None:
            self._ahead.runs()

    def gives(self, vertex: Vertex, results: Sequence[Result]) -> None:
        """See `solver.protocols.Observer`."""
        if self._ahead is not None:
            self._ahead.gives(vertex, results)

    async def export(self, edges: Sequence[Edge], solver: Solver) -> Descriptor | None:
        """Write all that `--cache-to` names; the manifest of the last one that has one."""
        if self._ahead is None:
            return None
        self._ahead.rest()
        from trimaran.caches.exporting import export_cache

        collector = self._collector(solver)

        async def collect(export: Export) -> CacheConfig:
            return await self._collect(collector, edges, export)

        written = await aio.all_of(export_cache(sending, collect, self._sink) for sending in self._sendings)
        manifests = [each for each in written if each is not None]
        return manifests[-1] if manifests else None

    async def _collect(self, collector: Collector, edges: Sequence[Edge], export: Export) -> CacheConfig:
        from trimaran.caches.collecting import as_blobs
        from trimaran.store.compression import Compression

        compression = Compression(export.compression, export.level)
        blobs = as_blobs(self._engine.store, compression, force=export.force_compression)
        return (await collector.collect(edges, export.mode, blobs)).config()

    def _collector(self, solver: Solver) -> Collector:
        from trimaran.caches.collecting import Collector

        engine, keys = self._engine, self._context.source_keys
        return Collector(engine.store, self._contents(), keys, engine.host, _Solved(solver, self._imported))


class _Solved:
    """See `collecting.Solved`."""

    def __init__(self, solver: Solver, imported: ImportedCaches | None) -> None:
        self._solver = solver
        self._imported = imported

    def known(self, vertex: Vertex) -> tuple[Result, ...] | None:
        return self._solver.known(vertex)

    def root_links(self, vertex: Vertex) -> Sequence[tuple[int, str, str]]:
        return () if self._imported is None else self._imported.root_links(self._solver.matches(vertex))
