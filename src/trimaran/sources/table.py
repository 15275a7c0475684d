"""The table of sources by scheme; each is made, and its module loaded, when a build first asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from trimaran.registry.client import Registry
from trimaran.sources import LocalFiles, Source
from trimaran.sources.given import Client, ContextMode
from trimaran.sources.lock import Lock
from trimaran.sources.resolver import ImageResolver
from trimaran.store.store import Store


class Sources(Mapping[str, Source]):
    """One build's sources."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        resolver: ImageResolver,
        files: LocalFiles,
        client: Client,
        lock: Lock | None = None,
        *,
        offline: bool = False,
        context_mode: ContextMode = "exact",
    ) -> None:
        self._store = store
        self._registry = registry
        self._resolver = resolver
        self._files = files
        self._client = client
        self._lock = lock or Lock()
        self._offline = offline
        self._context_mode: ContextMode = context_mode
        self._made: dict[str, Source] = {}
        self._makers: dict[str, Callable[[], Source]] = {
            "docker-image": self._image,
            "git": self._git,
            "http": self._http,
            "https": self._http,
            "local": self._local,
            "oci-layout": self._layout,
        }

    def __getitem__(self, scheme: str) -> Source:
        if scheme not in self._made:
            self._made[scheme] = self._makers[scheme]()
        return self._made[scheme]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def _image(self) -> Source:
        from trimaran.sources.image import ImageSource

        return ImageSource(self._store, self._resolver)

    def _local(self) -> Source:
        from trimaran.sources.local import LocalSource

        return LocalSource(self._files, self._store.stat_cache, self._context_mode)

    def _git(self) -> Source:
        from trimaran.sources.git import GitSource

        return GitSource(self._store, self._client, self._lock, offline=self._offline)

    def _http(self) -> Source:
        from trimaran.sources.http import HttpSource

        return HttpSource(self._store, self._registry.client, self._lock, offline=self._offline)

    def _layout(self) -> Source:
        from trimaran.sources.layout import LayoutSource

        return LayoutSource(self._store, self._resolver, self._files)
