"""`docker-image://name@digest`: an image as a stack of layers. Nothing is pulled until somebody needs bytes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trimaran.digest import Digest
from trimaran.events import Progress
from trimaran.graph.ops import SourceOp
from trimaran.oci import documents
from trimaran.platforms import Platform, default
from trimaran.reference import Reference
from trimaran.sources.resolver import ImageResolver, PickedImage
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store


class ImageRoot(msgspec.Struct, frozen=True):
    result: Rootfs
    served: bool
    cache_keys: tuple[str, ...] = ()


class ImageSource:
    def __init__(self, store: Store, resolver: ImageResolver) -> None:
        self._store = store
        self._resolver = resolver

    async def fetch(self, op: SourceOp, platform: Platform | None, progress: Progress) -> ImageRoot:
        name = op.identifier.partition("://")[2]
        mode = dict(op.attrs).get("image.resolvemode", "default")
        with progress.task(f"resolve {name}"):
            picked = await self._resolver.resolve(Reference.parse(name), platform or default(), mode)
        root = await self.layers(picked)
        return msgspec.structs.replace(root, cache_keys=cache_keys(picked, platform or default()))

    async def layers(self, picked: PickedImage) -> ImageRoot:
        """The stack, declared to the store; `served` when every layer's bytes are on this machine already."""
        layers = []
        served = True
        blobs = self._resolver.blobs(picked.pinned)
        repository = picked.pinned.reference.name
        for descriptor, diff_id in zip(picked.manifest.layers, picked.diff_ids, strict=True):
            if await self._store.content.has(descriptor):
                layers.append(self._store.layers.register_blob(diff_id, descriptor))
                continue
            served = False
            source, held_by = (blobs, repository) if blobs is not None else self._resolver.holder(descriptor.digest)
            layers.append(self._store.layers.register_remote(diff_id, descriptor, source, held_by))
        return ImageRoot(Rootfs(tuple(layers)), served)


def cache_keys(picked: PickedImage, platform: Platform) -> tuple[str, ...]:
    """By its name's digest and the platform; and by its layers alone, so that another tag of equal layers hits."""
    fields = {"Digest": str(picked.pinned.descriptor.digest), "OS": platform.os, "Arch": platform.architecture}
    details = {"Variant": platform.variant, "OSVersion": platform.os_version, "OSFeatures": list(platform.os_features)}
    manifest_key = Digest.of(documents.encode(fields | {name: value for name, value in details.items() if value}))
    return (manifest_key, chain_id(picked.diff_ids)) if picked.diff_ids else (manifest_key,)


def chain_id(diff_ids: Sequence[Digest]) -> str:
    """Of a stack of layers (OCI image-spec, config.md)."""
    chain = ""
    for diff_id in diff_ids:
        chain = Digest.of(f"{chain} {diff_id}".encode()) if chain else diff_id
    return chain
