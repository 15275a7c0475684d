"""`type=registry`: a cache as an image manifest (or index) under a name of its own."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trimaran.caches.as_manifest import ManifestTarget
from trimaran.caches.importing import FoundCache
from trimaran.caches.options import RegistryExport, RegistryImport
from trimaran.caches.signing import Signer, signer_of
from trimaran.errors import NotFound
from trimaran.events import Sink
from trimaran.oci import index as indexes
from trimaran.oci.descriptor import Descriptor
from trimaran.reference import Reference
from trimaran.registry.client import Registry
from trimaran.sources.given import KeySource
from trimaran.sources.places import mountable
from trimaran.store.store import Store


def signer(cache: RegistryImport | RegistryExport, keys: Mapping[KeySource, bytes]) -> Signer | None:
    """For its repository and tag."""
    reference = msgspec.structs.replace(Reference.parse(cache.ref), digest=None)
    return signer_of(cache.signing, str(reference), keys)


async def find(cache: RegistryImport, registry: Registry, keys: Mapping[KeySource, bytes]) -> FoundCache:
    """The manifest that the reference names now."""
    reference = Reference.parse(cache.ref)
    wanted = signer(cache, keys)
    if cache.insecure:
        registry.allow_insecure(reference.registry)
    repository = registry.repository(reference)
    descriptor, raw = await repository.get_manifest(str(reference.digest or reference.tag))
    return FoundCache(indexes.parse_any(raw, descriptor.media_type), repository, reference.name, wanted)


class RegistryTarget(ManifestTarget):
    def __init__(
        self, export: RegistryExport, store: Store, registry: Registry, sink: Sink, signer: Signer | None
    ) -> None:
        self._reference = Reference.parse(export.ref)
        if export.insecure:
            registry.allow_insecure(self._reference.registry)
        self._repository = registry.repository(self._reference, sink=sink)
        super().__init__(export, self._repository, store, registry, signer)

    async def put(self, blob: Descriptor) -> bool:
        self._repository.mount_from[blob.digest] = mountable(self._store, self._repository, blob.digest)
        return await super().put(blob)

    async def is_named(self, manifest: Descriptor) -> bool:
        try:
            return (await self._repository.resolve(str(self._reference.tag))).digest == manifest.digest
        except NotFound:
            return False

    async def name(self, manifest: Descriptor, raw: bytes) -> None:
        await self._repository.put_manifest(raw, manifest.media_type, str(self._reference.tag))
