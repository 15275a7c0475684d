"""A cache as an image manifest, or as an index: how registries and OCI layouts hold it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from trimaran.caches import config as configs
from trimaran.caches.config import CacheConfig, CacheLayer
from trimaran.caches.options import ManifestOptions
from trimaran.caches.sending import Sending
from trimaran.caches.signing import ANNOTATION, DIFF_ID, Signer
from trimaran.events import Progress
from trimaran.oci import index as indexes
from trimaran.oci import manifest as manifests
from trimaran.oci import media_types
from trimaran.oci.blobs import Blobs
from trimaran.oci.copy import copy_blob, write_blob
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.client import Registry
from trimaran.sources.places import place_of
from trimaran.store.store import Store

CREATED = "buildkit/createdat"
"""The annotation of a cache's layer that says when it was made."""


class ManifestTarget(ABC):
    """See `sending.Target`. A killed export leaves the name as it was."""

    def __init__(
        self, options: ManifestOptions, blobs: Blobs, store: Store, registry: Registry, signer: Signer | None
    ) -> None:
        self._options = options
        self._signer = signer
        self._blobs = blobs
        self._store = store
        self._registry = registry

    @abstractmethod
    async def is_named(self, manifest: Descriptor) -> bool:
        """Whether the name means this manifest already."""

    @abstractmethod
    async def name(self, manifest: Descriptor, raw: bytes) -> None:
        """Everything it names is there: from now on the name means it."""

    async def put(self, blob: Descriptor) -> bool:
        return await copy_blob(blob, await place_of(self._store, self._registry, blob), self._blobs)

    async def write(self, config: CacheConfig, sending: Sending, progress: Progress) -> Descriptor:
        bare = CacheConfig(tuple(CacheLayer(each.blob, each.parent) for each in config.layers), config.records)
        raw = configs.encode(bare)
        described = Descriptor.of(raw, configs.MEDIA_TYPE)
        layers = [_described(layer, docker=not self._options.oci_media_types) for layer in config.layers]
        named = described if self._signer is None else _signed(described, self._signer, layers)
        manifest, document = _manifest(self._options, named, layers)
        if await self.is_named(manifest):
            return manifest
        await sending.send_all(layers, progress)
        with progress.task(f"writing config {described.digest}", described.size):
            await write_blob(described, raw, self._blobs)
        kind = "cache image manifest" if self._options.image_manifest else "cache manifest"
        with progress.task(f"writing {kind} {manifest.digest}", manifest.size):
            await self.name(manifest, document)
        return manifest


def _described(layer: CacheLayer, *, docker: bool) -> Descriptor:
    convert = media_types.to_docker if docker else media_types.to_oci
    return Descriptor(
        media_type=convert(layer.media_type),
        digest=layer.blob,
        size=layer.size,
        annotations=((CREATED, layer.created), (DIFF_ID, layer.diff_id)),
    )


def _signed(config: Descriptor, signer: Signer, layers: Sequence[Descriptor]) -> Descriptor:
    signature = signer.sign(config.digest, layers)
    return msgspec.structs.replace(config, annotations=((ANNOTATION, signature),))


def _manifest(options: ManifestOptions, config: Descriptor, layers: Sequence[Descriptor]) -> tuple[Descriptor, bytes]:
    """As BuildKit: the layers in the config's order, also when two chains have the same one."""
    if options.image_manifest:
        image = manifests.build(config, tuple(layers))
        return Descriptor.of(image.raw, image.media_type), image.raw
    kind = media_types.OCI_INDEX if options.oci_media_types else media_types.DOCKER_MANIFEST_LIST
    index = indexes.build((*layers, config), media_type=kind)
    return Descriptor.of(index.raw, index.media_type), index.raw
