"""The image store as people use it: list, push, remove. Nothing here builds or rebuilds."""

from __future__ import annotations

import msgspec

from trimaran.digest import Digest
from trimaran.engine.engine import Engine
from trimaran.errors import NotFound
from trimaran.events import Sink, vertex
from trimaran.exporters.assemble import Assembled, AssembledImage
from trimaran.exporters.push import push_image
from trimaran.oci import image_config
from trimaran.oci import index as indexes
from trimaran.oci.blobs import read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.manifest import Manifest
from trimaran.platforms import Platform, default
from trimaran.reference import Reference
from trimaran.store.store import Store


class ListedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One name of the store. `size`: bytes of all blobs its manifests name; `created`: ns since the epoch."""

    name: Reference
    digest: Digest
    config: Digest | None
    """Of an image with one platform."""
    platforms: tuple[Platform, ...]
    created: int
    size: int


async def listed(store: Store) -> list[ListedImage]:
    """All images, newest first."""
    rows = []
    for stored in store.images.list():
        image = await assembled(store, stored.descriptor)
        rows.append(
            ListedImage(
                name=Reference.parse(stored.name),
                digest=stored.descriptor.digest,
                config=image.images[0].config.digest if len(image.images) == 1 else None,
                platforms=tuple(one.platform for one in image.images),
                created=stored.created,
                size=sum(blob.size for blob in image.blobs),
            )
        )
    return rows


async def push(name: str, engine: Engine, sink: Sink, *, insecure: bool = False) -> Descriptor:
    """Push the stored image `name` to where its name says; what is pushed is what was built."""
    reference = Reference.parse(name)
    descriptor = engine.store.images.get(str(reference))
    if descriptor is None:
        raise _unknown(engine.store, reference)
    image = await assembled(engine.store, descriptor)
    with vertex(sink, f"pushing {reference.familiar}") as progress:
        await push_image(
            engine.store, engine.registry, image, [reference], by_digest=False, insecure=insecure, progress=progress
        )
    return descriptor


async def remove(name: str, store: Store) -> Reference:
    """Take the name away; its bytes go with the next prune. NotFound names what is there."""
    reference = Reference.parse(name)
    if not await store.images.remove(str(reference)):
        raise _unknown(store, reference)
    return reference


async def assembled(store: Store, root: Descriptor) -> Assembled:
    """The parts of a stored image, read from its documents."""
    document = indexes.parse_any(await read_all(store.content, root), root.media_type)
    if isinstance(document, Manifest):
        config = image_config.parse(await read_all(store.content, document.config))
        return Assembled(root=root, images=(_part(document, root, config.platform),))
    parts = []
    for child in document.manifests:
        manifest = indexes.parse_any(await read_all(store.content, child), child.media_type)
        if isinstance(manifest, Manifest):
            parts.append(_part(manifest, child, child.platform or default()))
    return Assembled(root=root, images=tuple(parts))


def _part(manifest: Manifest, descriptor: Descriptor, platform: Platform) -> AssembledImage:
    return AssembledImage(
        platform=platform, manifest=descriptor.plain(), config=manifest.config, layers=manifest.layers
    )


def _unknown(store: Store, reference: Reference) -> NotFound:
    known = ", ".join(Reference.parse(stored.name).familiar for stored in store.images.list()[:5])
    hint = f"there are: {known}" if known else "it is empty: build one with -t NAME"
    return NotFound(f"find image {reference.familiar}: it is not in Trimaran's image store", hint=hint)
