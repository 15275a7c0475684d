"""`type=local`: a cache as an OCI layout in a folder of the client."""

from __future__ import annotations

from trimaran.caches.importing import FoundCache
from trimaran.caches.options import LocalExport, LocalImport
from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.oci import documents
from trimaran.oci import index as indexes
from trimaran.oci.blobs import read_all
from trimaran.oci.copy import write_blob
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.layout import Layout


async def find_local(cache: LocalImport) -> FoundCache:
    """The manifest of the digest, else of the tag."""
    layout = await Layout.open(cache.src)
    digest = Digest.parse(cache.digest) if cache.digest else None
    descriptor = await layout.find("" if digest else cache.tag, digest)
    raw = await read_all(layout, descriptor, limit=documents.MANIFEST_LIMIT)
    return FoundCache(indexes.parse_any(raw, descriptor.media_type), layout)


class LocalTarget:
    """See `exporting.Target`."""

    def __init__(self, export: LocalExport, layout: Layout) -> None:
        self._export = export
        self.blobs = layout

    @classmethod
    async def of(cls, export: LocalExport) -> LocalTarget:
        """The folder is made when it is not there."""
        return cls(export, await Layout.create(export.dest))

    def expect(self, blob: Descriptor) -> None:
        """Nothing is nearer than the store."""

    async def is_named(self, manifest: Descriptor) -> bool:
        try:
            named = (await self.blobs.find(self._export.tag)).digest == manifest.digest
        except NotFound:
            return False
        return named and not self._export.reset and await self.blobs.has(manifest)

    async def name(self, manifest: Descriptor, raw: bytes) -> None:
        """With `reset` nothing is left in the folder but this cache."""
        await write_blob(manifest, raw, self.blobs)
        await self.blobs.name(manifest, (self._export.tag,))
        if self._export.reset:
            children = indexes.parse_any(raw, manifest.media_type).children
            await self.blobs.keep_only({manifest.digest, *(child.digest for child in children)})
