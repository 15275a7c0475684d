"""`type=local`: a cache as an OCI layout in a folder of the client."""

from __future__ import annotations

from collections.abc import Mapping

from trimaran.caches.as_manifest import ManifestTarget
from trimaran.caches.importing import FoundCache
from trimaran.caches.options import LocalExport, LocalImport
from trimaran.caches.signing import Signer, signer_of
from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.oci import documents
from trimaran.oci import index as indexes
from trimaran.oci.blobs import read_all
from trimaran.oci.copy import write_blob
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.layout import Layout
from trimaran.registry.client import Registry
from trimaran.sources.given import KeySource
from trimaran.store.store import Store


def signer(cache: LocalImport | LocalExport, keys: Mapping[KeySource, bytes]) -> Signer | None:
    """For its tag: where the folder lies is not the same in every job."""
    return signer_of(cache.signing, f"local:{cache.tag}", keys)


async def find_local(cache: LocalImport, keys: Mapping[KeySource, bytes]) -> FoundCache:
    """The manifest of the digest, else of the tag."""
    wanted = signer(cache, keys)
    layout = await Layout.open(cache.src)
    digest = Digest.parse(cache.digest) if cache.digest else None
    descriptor = await layout.find("" if digest else cache.tag, digest)
    raw = await read_all(layout, descriptor, limit=documents.MANIFEST_LIMIT)
    return FoundCache(indexes.parse_any(raw, descriptor.media_type), layout, signer=wanted)


class LocalTarget(ManifestTarget):
    def __init__(
        self, export: LocalExport, layout: Layout, store: Store, registry: Registry, signer: Signer | None
    ) -> None:
        super().__init__(export, layout, store, registry, signer)
        self._export = export
        self._layout = layout

    @classmethod
    async def of(cls, export: LocalExport, store: Store, registry: Registry, signer: Signer | None) -> LocalTarget:
        """The folder is made when it is not there."""
        return cls(export, await Layout.create(export.dest), store, registry, signer)

    async def is_named(self, manifest: Descriptor) -> bool:
        try:
            named = (await self._layout.find(self._export.tag)).digest == manifest.digest
        except NotFound:
            return False
        return named and not self._export.reset and await self._layout.has(manifest)

    async def name(self, manifest: Descriptor, raw: bytes) -> None:
        """With `reset` nothing is left in the folder but this cache."""
        await write_blob(manifest, raw, self._layout)
        await self._layout.name(manifest, (self._export.tag,))
        if self._export.reset:
            children = indexes.parse_any(raw, manifest.media_type).children
            await self._layout.keep_only({manifest.digest, *(child.digest for child in children)})
