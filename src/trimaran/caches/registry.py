"""`type=registry`: a cache as an image manifest (or index) under a name of its own."""

from __future__ import annotations

from trimaran.caches.importing import FoundCache
from trimaran.caches.options import RegistryExport, RegistryImport
from trimaran.errors import NotFound
from trimaran.events import Progress
from trimaran.oci import index as indexes
from trimaran.oci.descriptor import Descriptor
from trimaran.reference import Reference
from trimaran.registry.client import Registry
from trimaran.sources.places import mountable
from trimaran.store.store import Store


async def find(cache: RegistryImport, registry: Registry) -> FoundCache:
    """The manifest that the reference names now."""
    reference = Reference.parse(cache.ref)
    repository = registry.repository(reference)
    descriptor, raw = await repository.get_manifest(str(reference.digest or reference.tag))
    return FoundCache(indexes.parse_any(raw, descriptor.media_type), repository, reference.name)


class RegistryTarget:
    """See `exporting.Target`."""

    def __init__(self, export: RegistryExport, store: Store, registry: Registry, progress: Progress) -> None:
        self._reference = Reference.parse(export.ref)
        if export.insecure:
            registry.allow_insecure(self._reference.registry)
        self._store = store
        self.blobs = registry.repository(self._reference, sink=progress.sink)

    def expect(self, blob: Descriptor) -> None:
        self.blobs.mount_from[blob.digest] = mountable(self._store, self.blobs, blob.digest)

    async def is_named(self, manifest: Descriptor) -> bool:
        try:
            return (await self.blobs.resolve(str(self._reference.tag))).digest == manifest.digest
        except NotFound:
            return False

    async def name(self, manifest: Descriptor, raw: bytes) -> None:
        await self.blobs.put_manifest(raw, manifest.media_type, str(self._reference.tag))
