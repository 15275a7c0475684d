"""Writing a cache: blobs the target lacks, then the config, then the manifest under its name.

Law: a cache is a help, not a product: it takes no longer than its deadline, and unless `ignore-error=false` says
otherwise its failure is one warning. Nothing is sent that is there; a killed export leaves the name as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from trimaran import aio
from trimaran.caches import config as configs
from trimaran.caches.config import CacheConfig, CacheLayer
from trimaran.caches.importing import DIFF_ID
from trimaran.caches.options import ExportOptions, LocalExport, ManifestOptions, RegistryExport, S3Export
from trimaran.digest import Digest
from trimaran.errors import TrimaranError, Unavailable
from trimaran.events import Progress, Sink, WarningEvent, vertex
from trimaran.oci import index as indexes
from trimaran.oci import manifest as manifests
from trimaran.oci import media_types
from trimaran.oci.blobs import Blobs
from trimaran.oci.copy import PARALLEL, copy_blob, write_blob
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.client import Registry
from trimaran.sources.places import place_of
from trimaran.store.store import Store

CREATED = "buildkit/createdat"
"""The annotation of a cache's layer that says when it was made."""

Export = RegistryExport | LocalExport | S3Export
Collect = Callable[[Export], Awaitable[CacheConfig]]
"""Makes the config of an export, and the blobs it names."""


class Target(Protocol):
    """Where a cache is written to, under the name it shall have."""

    @property
    def blobs(self) -> Blobs: ...

    def expect(self, blob: Descriptor) -> None:
        """The blob will be written next: it may be had from somewhere near."""
        ...

    async def is_named(self, manifest: Descriptor) -> bool:
        """Whether the name means this manifest already."""
        ...

    async def name(self, manifest: Descriptor, raw: bytes) -> None:
        """Everything it names is there: from now on the name means it."""
        ...


async def export_cache(
    export: Export, collect: Collect, store: Store, registry: Registry, sink: Sink
) -> Descriptor | None:
    """The cache's manifest; None when it failed and nobody insists, or has no manifest (a bucket)."""
    where = f"exporting cache to {_WORDS[type(export)]}"
    own = Digest.of(f"{where} {name_of(export)}".encode())
    try:
        with vertex(sink, where, digest=own) as progress:
            try:
                async with asyncio.timeout(export.timeout):
                    return await _export(export, collect, store, registry, progress)
            except TimeoutError:
                raise Unavailable(
                    f"export cache to {name_of(export)}: not done within {export.timeout} s",
                    hint="timeout=SECONDS of --cache-to gives it more",
                ) from None
    except TrimaranError as error:
        if export.ignore_error is False:
            raise
        words = f"cache is not exported to {name_of(export)}: {error}"
        sink(WarningEvent(vertex=own, short=words.encode()))
        return None


_WORDS: dict[type[ExportOptions], str] = {
    RegistryExport: "registry",
    LocalExport: "client directory",
    S3Export: "Amazon S3",
}


def name_of(export: Export) -> str:
    """For people."""
    if isinstance(export, RegistryExport):
        return export.ref
    return export.dest if isinstance(export, LocalExport) else f"s3 bucket {export.bucket.bucket}"


async def _export(
    export: Export, collect: Collect, store: Store, registry: Registry, progress: Progress
) -> Descriptor | None:
    with progress.task("preparing build cache for export"):
        config = await collect(export)
    if isinstance(export, S3Export):
        from trimaran.caches.s3 import write_bucket

        await write_bucket(export, config, store, registry, progress)
        return None
    target: Target
    if isinstance(export, RegistryExport):
        from trimaran.caches.registry import RegistryTarget

        target = RegistryTarget(export, store, registry, progress)
    else:
        from trimaran.caches.local import LocalTarget

        target = await LocalTarget.of(export)
    return await _write(export, config, target, store, registry, progress)


async def _write(
    export: ManifestOptions, config: CacheConfig, target: Target, store: Store, registry: Registry, progress: Progress
) -> Descriptor:
    bare = CacheConfig(tuple(CacheLayer(each.blob, each.parent) for each in config.layers), config.records)
    raw = configs.encode(bare)
    described = Descriptor.of(raw, configs.MEDIA_TYPE)
    layers = [_described(layer, docker=not export.oci_media_types) for layer in config.layers]
    manifest, document = _manifest(export, described, layers)
    if await target.is_named(manifest):
        return manifest
    await send_blobs(layers, target.blobs, store, registry, progress, expect=target.expect)
    with progress.task(f"writing config {described.digest}", described.size):
        await write_blob(described, raw, target.blobs)
    kind = "cache image manifest" if export.image_manifest else "cache manifest"
    with progress.task(f"writing {kind} {manifest.digest}", manifest.size):
        await target.name(manifest, document)
    return manifest


async def send_blobs(
    layers: Sequence[Descriptor],
    target: Blobs,
    store: Store,
    registry: Registry,
    progress: Progress,
    *,
    expect: Callable[[Descriptor], None] = lambda _: None,
    parallel: int = PARALLEL,
) -> None:
    """Each blob once, a few at a time, from wherever it is."""
    slots = asyncio.Semaphore(parallel)

    async def send(layer: Descriptor) -> None:
        async with slots:
            with progress.task(f"writing layer {layer.digest}", layer.size) as task:
                expect(layer)
                if await copy_blob(layer, await place_of(store, registry, layer), target):
                    task.add(layer.size)

    unique = {layer.digest: layer.plain() for layer in layers}
    await aio.all_of(send(layer) for layer in unique.values())


def _described(layer: CacheLayer, *, docker: bool) -> Descriptor:
    convert = media_types.to_docker if docker else media_types.to_oci
    return Descriptor(
        media_type=convert(layer.media_type),
        digest=layer.blob,
        size=layer.size,
        annotations=((CREATED, layer.created), (DIFF_ID, layer.diff_id)),
    )


def _manifest(export: ManifestOptions, config: Descriptor, layers: Sequence[Descriptor]) -> tuple[Descriptor, bytes]:
    """As BuildKit: the layers in the config's order, also when two chains have the same one."""
    if export.image_manifest:
        image = manifests.build(config, tuple(layers))
        return Descriptor.of(image.raw, image.media_type), image.raw
    kind = media_types.OCI_INDEX if export.oci_media_types else media_types.DOCKER_MANIFEST_LIST
    index = indexes.build((*layers, config), media_type=kind)
    return Descriptor.of(index.raw, index.media_type), index.raw
