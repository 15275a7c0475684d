"""Results become an image: layer blobs, config, manifest, and an index when there are several platforms.

The documents go into the store's content; layers that nothing on this machine needs stay promises (`lazy`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import takewhile

import msgspec

from trimaran import aio
from trimaran.events import Progress
from trimaran.exporters.config import ExportLayer, complete_config
from trimaran.exporters.options import Annotation, AnnotationKind, ImageOptions
from trimaran.oci import index as indexes
from trimaran.oci import manifest as manifests
from trimaran.oci import media_types
from trimaran.oci.descriptor import Descriptor
from trimaran.platforms import Platform
from trimaran.store.compression import GZIP, Compression, zlib_name
from trimaran.store.layers import LayerBlob, LayerId
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store


class Exportable(msgspec.Struct, frozen=True, kw_only=True):
    """One platform's result, ready to be exported: promises of layers, and the frontend's config.

    `base_config` is that of the image it was built on, b"" for none.
    """

    platform: Platform
    rootfs: Rootfs
    config: bytes
    base_config: bytes = b""

    def base(self) -> tuple[LayerId, ...]:
        """Its layers that are the base's: nobody's but its maker's to change, whatever else an export asks for."""
        if not self.base_config:
            return ()
        from trimaran.oci import image_config

        diff_ids = map(LayerId, image_config.parse(self.base_config).diff_ids)
        pairs = zip(self.rootfs.layers, diff_ids, strict=False)
        return tuple(layer for layer, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class AssembledImage(msgspec.Struct, frozen=True, kw_only=True):
    """One platform's image."""

    platform: Platform
    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]


class Assembled(msgspec.Struct, frozen=True, kw_only=True):
    """`root` is the index, or the only manifest."""

    root: Descriptor
    images: tuple[AssembledImage, ...]

    @property
    def documents(self) -> tuple[Descriptor, ...]:
        """Manifests and the index, children first."""
        children = tuple(dict.fromkeys(image.manifest for image in self.images))
        return children if self.root in children else (*children, self.root)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configs and layers, each once, in the order they are referred to."""
        unique: dict[str, Descriptor] = {}
        for image in self.images:
            for descriptor in (image.config, *image.layers):
                unique.setdefault(descriptor.digest, descriptor)
        return tuple(unique.values())


async def assemble(
    store: Store,
    parts: Sequence[Exportable],
    options: ImageOptions,
    *,
    as_index: bool,
    docker_types: bool,
    progress: Progress,
) -> Assembled:
    """Make and store everything but the layers that may stay elsewhere."""
    compression = _compression(options, progress)
    bases = {layer for part in parts for layer in part.base()} if options.rewrite_timestamp else set()
    if options.rewrite_timestamp and options.source_date_epoch is not None:
        parts = await _rewritten(store, parts, bases, options.source_date_epoch, progress)
    with progress.task("exporting layers"):
        blobs = await _layer_blobs(store, parts, bases, compression, force=options.compression.force)
    images = [_image(store, part, blobs, options, docker_types=docker_types, progress=progress) for part in parts]
    if not as_index and len(images) == 1:
        return Assembled(root=images[0].manifest, images=tuple(images))
    return Assembled(
        root=_index(store, images, options, docker_types=docker_types, progress=progress), images=tuple(images)
    )


def _compression(options: ImageOptions, progress: Progress) -> Compression:
    """Where times are rewritten the bytes shall be the same everywhere."""
    chosen = Compression(options.compression.kind, options.compression.level, portable=options.rewrite_timestamp)
    if options.rewrite_timestamp and options.source_date_epoch is None:
        progress.warn("rewrite-timestamp is specified, but no source-date-epoch was found")
    elif options.rewrite_timestamp and chosen.kind == GZIP and zlib_name() != "zlib":
        progress.warn(f"{zlib_name()} has gzip bytes of its own: use compression=zstd to get the same ones elsewhere")
    return chosen


async def _rewritten(
    store: Store, parts: Sequence[Exportable], bases: Collection[LayerId], epoch: int, progress: Progress
) -> list[Exportable]:
    """The same results with no time after `epoch`, but for layers of their bases."""
    from trimaran.store.rewriting import not_later

    wanted = list(dict.fromkeys(layer for part in parts for layer in part.rootfs.layers))
    with progress.task(f"rewriting layers with source-date-epoch {epoch} ({_utc(epoch)})"):
        new = [layer for layer in wanted if layer not in bases]
        made = await aio.all_of(not_later(store.layers, layer, epoch) for layer in new)
    by_layer = {layer: layer for layer in bases} | dict(zip(new, made, strict=True))
    return [
        msgspec.structs.replace(part, rootfs=Rootfs(tuple(by_layer[layer] for layer in part.rootfs.layers)))
        for part in parts
    ]


def _utc(seconds: int) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(seconds))


async def _layer_blobs(
    store: Store,
    parts: Sequence[Exportable],
    bases: Collection[LayerId],
    compression: Compression,
    *,
    force: bool,
) -> dict[LayerId, LayerBlob]:
    """Platforms share layers: each is rendered once. Where bytes shall be the same everywhere, what a shared cache gave
    is compressed anew: nobody knows what compressed it."""
    wanted = dict.fromkeys(layer for part in parts for layer in part.rootfs.layers)
    portable = compression.portable
    made = await aio.all_of(
        store.layers.blob(layer, compression, force=force, ours=portable and layer not in bases) for layer in wanted
    )
    return dict(zip(wanted, made, strict=True))


def _image(
    store: Store,
    part: Exportable,
    blobs: dict[LayerId, LayerBlob],
    options: ImageOptions,
    *,
    docker_types: bool,
    progress: Progress,
) -> AssembledImage:
    convert = media_types.to_docker if docker_types else media_types.to_oci
    stack = [_export_layer(store, layer, blobs) for layer in part.rootfs.layers]
    raw = complete_config(part.config, tuple(stack), epoch=options.source_date_epoch)
    config = store.content.put(raw, convert(media_types.OCI_CONFIG))
    layers = tuple(_plain(blobs[layer].descriptor, convert) for layer in part.rootfs.layers)
    manifest = manifests.build(
        config,
        layers,
        media_type=convert(media_types.OCI_MANIFEST),
        annotations=_annotations(options.annotations, "manifest", part.platform),
    )
    described = store.content.put(manifest.raw, manifest.media_type)
    with progress.task(f"exporting manifest {described.digest}"), progress.task(f"exporting config {config.digest}"):
        return AssembledImage(platform=part.platform, manifest=described, config=config, layers=layers)


def _export_layer(store: Store, layer: LayerId, blobs: dict[LayerId, LayerBlob]) -> ExportLayer:
    return ExportLayer(diff_id=blobs[layer].diff_id, created=store.layers.created(layer))


def _plain(descriptor: Descriptor, convert: Callable[[str], str]) -> Descriptor:
    """A layer in a manifest carries no annotations of the cache or of where it came from."""
    return Descriptor(
        media_type=convert(descriptor.media_type), digest=descriptor.digest, size=descriptor.size, urls=descriptor.urls
    )


def _index(
    store: Store, images: list[AssembledImage], options: ImageOptions, *, docker_types: bool, progress: Progress
) -> Descriptor:
    children = tuple(
        msgspec.structs.replace(
            image.manifest,
            platform=image.platform.normalize(),
            annotations=_annotations(options.annotations, "manifest-descriptor", image.platform),
        )
        for image in images
    )
    index = indexes.build(
        children,
        media_type=media_types.DOCKER_MANIFEST_LIST if docker_types else media_types.OCI_INDEX,
        annotations=_annotations(options.annotations, "index", None),
    )
    root = store.content.put(index.raw, index.media_type)
    with progress.task(f"exporting manifest list {root.digest}"):
        return root


def _annotations(
    annotations: tuple[Annotation, ...], kind: AnnotationKind, platform: Platform | None
) -> tuple[tuple[str, str], ...]:
    """Those of `kind` for all platforms, then those for this one: the nearer wins."""
    name = str(platform.normalize()) if platform else None
    general = {a.key: a.value for a in annotations if a.kind == kind and a.platform is None}
    own = {a.key: a.value for a in annotations if a.kind == kind and name is not None and a.platform == name}
    return tuple((general | own).items())
