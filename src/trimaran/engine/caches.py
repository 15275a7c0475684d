"""How the recipe and the caches meet: what is imported before a build, what is exported of it after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from trimaran import aio
from trimaran.caches.options import CacheImport, InlineExport, LocalImport
from trimaran.digest import Digest
from trimaran.events import Sink, WarningEvent

if TYPE_CHECKING:
    from trimaran.caches.collecting import Collector
    from trimaran.caches.config import CacheConfig
    from trimaran.caches.exporting import Export
    from trimaran.caches.imported import ImportedCaches
    from trimaran.engine.engine import Engine
    from trimaran.engine.request import BuildRequest
    from trimaran.exporters.assemble import Exportable
    from trimaran.graph.frontend import Built
    from trimaran.graph.vertex import Edge, Vertex
    from trimaran.oci.descriptor import Descriptor
    from trimaran.solver.protocols import Result
    from trimaran.solver.solver import Solver
    from trimaran.steps.context import StepContext


class BuildCaches:
    """The shared caches of one build; nothing is loaded for a build that names none."""

    def __init__(self, request: BuildRequest, engine: Engine, context: StepContext, sink: Sink) -> None:
        self._request = request
        self._engine = engine
        self._context = context
        self._sink = sink
        self._imported: ImportedCaches | None = None

    async def imported(self) -> ImportedCaches | None:
        """What `--cache-from` names; None when that is nothing."""
        imports = self._allowed(self._request.cache_from)
        if not imports:
            return None
        from trimaran.caches.imported import Contents, ImportedCaches
        from trimaran.caches.importing import import_caches

        engine, context = self._engine, self._context
        platforms = self._request.frontend.platforms
        links = await import_caches(imports, engine.registry, platforms, self._sink)
        if links:
            contents = Contents(engine.store, context.view)
            self._imported = ImportedCaches(links, engine.store, contents, context.source_keys, engine.host, self._warn)
        return self._imported

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

    async def export(self, edges: Sequence[Edge], solver: Solver) -> Descriptor | None:
        """Write all that `--cache-to` names; the manifest of the last one that has one."""
        exports = [each for each in self._request.cache_to if not isinstance(each, InlineExport)]
        if not exports:
            return None
        from trimaran.caches.exporting import export_cache

        collector = self._collector(solver)

        async def collect(export: Export) -> CacheConfig:
            return await self._collect(collector, edges, export)

        engine = self._engine
        written = await aio.all_of(
            export_cache(export, collect, engine.store, engine.registry, self._sink) for export in exports
        )
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
        from trimaran.caches.imported import Contents

        engine, context = self._engine, self._context
        contents = Contents(engine.store, context.view)
        return Collector(engine.store, contents, context.source_keys, engine.host, _Solved(solver, self._imported))


class _Solved:
    """See `collecting.Solved`."""

    def __init__(self, solver: Solver, imported: ImportedCaches | None) -> None:
        self._solver = solver
        self._imported = imported

    def known(self, vertex: Vertex) -> tuple[Result, ...] | None:
        return self._solver.known(vertex)

    def root_links(self, vertex: Vertex) -> Sequence[tuple[int, str, str]]:
        return () if self._imported is None else self._imported.root_links(self._solver.matches(vertex))
