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
from trimaran.store.images import StoredImage
from trimaran.store.store import Store

_SHORTEST = 4


class ListedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One name of the store. `size`: bytes of all blobs its manifests name; `created`: ns since the epoch."""

    name: Reference | None
    """None for an image that was built without a name."""
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
                name=_name(stored.name),
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
    descriptor = find(engine.store, name).descriptor
    image = await assembled(engine.store, descriptor)
    with vertex(sink, f"pushing {reference.familiar}") as progress:
        await push_image(
            engine.store, engine.registry, image, [reference], by_digest=False, insecure=insecure, progress=progress
        )
    return descriptor


async def remove(name: str, store: Store) -> str:
    """Take the name away; its bytes go with the next prune. NotFound names what is there."""
    found = find(store, name)
    await store.images.remove(found.name)
    return found.name


def find(store: Store, text: str) -> StoredImage:
    """The image that a person means: a name, or the beginning (4 digits or more) of its digest. NotFound."""
    found = by_digest(store, text)
    if found is not None:
        return found
    stored = store.images.list()
    wanted = "" if text.startswith("sha256:") else str(Reference.parse(text))
    for image in stored:
        if image.name == wanted:
            return image
    known = ", ".join(str(_name(image.name) or image.name) for image in stored[:5])
    hint = f"there are: {known}" if known else "it is empty: build one with -t NAME"
    raise NotFound(f"find image {text}: it is not in Trimaran's image store", hint=hint)


def by_digest(store: Store, text: str) -> StoredImage | None:
    """The image whose digest begins with `text`'s 4 digits or more; None when `text` is no such thing."""
    digits = text.removeprefix("sha256:")
    if len(digits) < _SHORTEST or any(digit not in "0123456789abcdef" for digit in digits):
        return None
    return next((image for image in store.images.list() if image.descriptor.digest.hex.startswith(digits)), None)


def _name(text: str) -> Reference | None:
    return None if text.startswith("sha256:") else Reference.parse(text)


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
