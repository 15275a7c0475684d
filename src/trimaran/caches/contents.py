"""BuildKit's content keys of results: each computed once in a build and, for layers, once in a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from trimaran.caches.cache_map import Selected
from trimaran.caches.content_hash import content_digest
from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.solver.protocols import Result
from trimaran.sources.local import LocalRoot
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store
from trimaran.store.views import View


class Contents:
    def __init__(self, store: Store, view: Callable[[Result], Awaitable[View]]) -> None:
        self._store = store
        self._view = view
        self._known: dict[tuple[str, tuple[Selected, ...]], Digest] = {}

    async def digest(self, result: Result, reads: tuple[Selected, ...]) -> Digest | None:
        """None when it cannot be had without fetching layers, or the path is not there."""
        known = self._known.get((result.id, reads))
        if known is not None:
            return known
        memo = "" if isinstance(result, LocalRoot) else f"buildkit:{reads!r}"
        found = self._store.records.memo(result.id, memo) if memo else None
        if found is None:
            if not self._is_here(result):
                return None
            try:
                view = await self._view(result)
                found = await content_digest(view, reads, is_context=isinstance(result, LocalRoot))
            except NotFound:
                return None
            if memo:
                self._store.records.remember(result.id, memo, found)
        digest = self._known[result.id, reads] = Digest(found)
        return digest

    def _is_here(self, result: Result) -> bool:
        return not isinstance(result, Rootfs) or all(self._store.layers.is_here(layer) for layer in result.layers)
