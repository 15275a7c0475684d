"""`oci-layout://STORE@DIGEST`: an image of an OCI layout folder that the client gives under the name STORE."""

from __future__ import annotations

from trimaran.digest import Digest
from trimaran.errors import UsageError
from trimaran.events import Progress
from trimaran.graph.ops import SourceOp
from trimaran.oci import index as indexes
from trimaran.oci import media_types
from trimaran.oci.blobs import read_all
from trimaran.oci.copy import copy_blob, copy_blobs
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.layout import Layout
from trimaran.oci.manifest import Manifest
from trimaran.platforms import Platform, default, only
from trimaran.sources import LocalFiles
from trimaran.sources.image import ImageRoot, cache_keys
from trimaran.sources.resolver import ImageResolver, PickedImage
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store

SCHEME = "oci-layout"


def folder_name(store: str) -> str:
    """What the folder of a layout is called among the client's folders."""
    return f"{SCHEME}:{store}"


class LayoutSource:
    def __init__(self, store: Store, resolver: ImageResolver, files: LocalFiles) -> None:
        self._store = store
        self._resolver = resolver
        self._files = files

    async def resolve(self, identifier: str, platform: Platform) -> PickedImage:
        """The image for `platform`: its documents are brought into the store, its layers stay where they are."""
        name, _, digest = identifier.removeprefix(f"{SCHEME}://").rpartition("@")
        if not name:
            raise UsageError(f"read {identifier}: no digest", hint=f"write {SCHEME}://NAME@sha256:…")
        layout = await Layout.open(self._files.folder(folder_name(name)))
        root = await layout.find(digest=Digest.parse(digest))
        await self._bring(root, layout, platform)
        return await self._resolver.of_store(root, platform)

    async def _bring(self, root: Descriptor, layout: Layout, platform: Platform) -> None:
        """The documents on the way to the platform's config."""
        content = self._store.content
        await copy_blob(root, layout, content)
        document = indexes.parse_any(await read_all(content, root), root.media_type)
        if not isinstance(document, Manifest):
            children = [child for child in document.manifests if media_types.is_manifest(child.media_type)]
            named = [child for child in children if child.platform is not None]
            best = only(platform).best([child.platform for child in named if child.platform is not None])
            if best is None:
                return  # the resolver says what there is
            await copy_blob(named[best], layout, content)
            document = indexes.parse_any(await read_all(content, named[best]), named[best].media_type)
        assert isinstance(document, Manifest)
        await copy_blob(document.config, layout, content)

    async def fetch(self, op: SourceOp, platform: Platform | None, progress: Progress) -> ImageRoot:
        picked = await self.resolve(op.identifier, platform or default())
        name = op.identifier.removeprefix(f"{SCHEME}://").rpartition("@")[0]
        layout = await Layout.open(self._files.folder(folder_name(name)))
        content = self._store.content
        missing = [layer for layer in picked.manifest.layers if not await content.has(layer)]
        await copy_blobs(missing, layout, content, progress=progress)
        layers = [
            self._store.layers.register_blob(diff_id, descriptor)
            for descriptor, diff_id in zip(picked.manifest.layers, picked.diff_ids, strict=True)
        ]
        keys = cache_keys(picked, platform or default())
        return ImageRoot(Rootfs(tuple(layers)), served=not missing, cache_keys=keys)
