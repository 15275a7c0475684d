"""`docker-image://name@digest`: an image as a stack of layers. Nothing is pulled until somebody needs bytes."""

from __future__ import annotations

import msgspec

from trimaran.events import Progress
from trimaran.graph.ops import SourceOp
from trimaran.platforms import Platform, default
from trimaran.reference import Reference
from trimaran.sources.resolver import ImageResolver, PickedImage
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store


class ImageRoot(msgspec.Struct, frozen=True):
    result: Rootfs
    served: bool


class ImageSource:
    def __init__(self, store: Store, resolver: ImageResolver) -> None:
        self._store = store
        self._resolver = resolver

    async def fetch(self, op: SourceOp, platform: Platform | None, progress: Progress) -> ImageRoot:
        name = op.identifier.partition("://")[2]
        mode = dict(op.attrs).get("image.resolvemode", "default")
        with progress.task(f"resolve {name}"):
            picked = await self._resolver.resolve(Reference.parse(name), platform or default(), mode)
        return await self.layers(picked)

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
