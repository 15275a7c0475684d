"""Reading caches: the config first, whole; layers not at all, they are where they are until a step needs them."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimaran import aio
from trimaran.caches import config as configs
from trimaran.caches.links import Links, RemoteLayer
from trimaran.caches.options import CacheImport, LocalImport, RegistryImport
from trimaran.caches.signing import ANNOTATION, DIFF_ID, Signer
from trimaran.digest import Digest
from trimaran.errors import Corrupt, Denied, NotFound, TrimaranError
from trimaran.events import Sink, WarningEvent, vertex
from trimaran.oci import documents, media_types
from trimaran.oci import index as indexes
from trimaran.oci.blobs import Blobs, read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.index import Index
from trimaran.oci.manifest import Manifest
from trimaran.platforms import Platform
from trimaran.registry.client import Registry
from trimaran.sources.given import KeySource

INLINE = "moby.buildkit.cache.v0"
"""The key of an image config under which its inline cache is."""


class FoundCache(msgspec.Struct, frozen=True):
    """A cache's manifest as it was found, and where its blobs are; `repository` is remembered for layers of it.

    `signer`: who has to have signed it.
    """

    document: Manifest | Index
    blobs: Blobs
    repository: str = ""
    signer: Signer | None = None


async def import_caches(
    imports: Sequence[CacheImport],
    registry: Registry,
    platforms: Sequence[Platform],
    sink: Sink,
    keys: Mapping[KeySource, bytes],
) -> Links:
    """All caches in one graph, in the order given. One that cannot be read is a warning: the build goes on without.

    So is one that is not signed as it should be, by one of `keys`.
    """
    links = Links()
    found = await aio.all_of([_read(each, registry, platforms, sink, keys) for each in imports])
    for configs_of_one, each in zip(found, imports, strict=True):
        for config, layers in configs_of_one:
            links.add(config, layers, name_of(each))
    return links


def name_of(cache: CacheImport) -> str:
    """For people, and the same at every build."""
    if isinstance(cache, RegistryImport):
        return cache.ref
    if isinstance(cache, LocalImport):
        return f"local:{cache.src}"
    return f"s3:{cache.bucket.bucket}/{cache.bucket.prefix}{cache.name}"


_Read = list[tuple[configs.CacheConfig, list[RemoteLayer | None]]]


async def _read(
    cache: CacheImport,
    registry: Registry,
    platforms: Sequence[Platform],
    sink: Sink,
    keys: Mapping[KeySource, bytes],
) -> _Read:
    name = f"importing cache manifest from {name_of(cache)}"
    own = Digest.of(name.encode())
    try:
        with vertex(sink, name, digest=own):
            if isinstance(cache, RegistryImport):
                from trimaran.caches.registry import find

                return await read_cache(await find(cache, registry, keys), platforms)
            if isinstance(cache, LocalImport):
                from trimaran.caches.local import find_local

                return await read_cache(await find_local(cache, keys), platforms)
            from trimaran.caches.s3 import read_bucket

            return [await read_bucket(cache, keys)]
    except TrimaranError as error:
        words = f"cache of {name_of(cache)} is not used: {error}"
        sink(WarningEvent(vertex=own, short=words.encode()))
        return []


async def read_cache(found: FoundCache, platforms: Sequence[Platform]) -> _Read:
    """A cache manifest in either form; or the inline caches of an image. NotFound when it has none."""
    document = found.document
    if isinstance(document, Manifest):
        if document.config.media_type == configs.MEDIA_TYPE:
            return [await _with_config(found, document.config, document.layers)]
        return await _inline(found, [document])
    own = [child for child in document.manifests if child.media_type == configs.MEDIA_TYPE]
    if own:
        layers = tuple(child for child in document.manifests if child.media_type != configs.MEDIA_TYPE)
        return [await _with_config(found, own[-1], layers)]
    children = [child for child in document.manifests if _is_wanted(child, platforms)]
    return await _inline(found, await aio.all_of([_manifest(found, child) for child in children]))


def _is_wanted(child: Descriptor, platforms: Sequence[Platform]) -> bool:
    if not media_types.is_manifest(child.media_type):
        return False
    return child.platform is None or any(child.platform.normalize() == each.normalize() for each in platforms)


async def _manifest(found: FoundCache, child: Descriptor) -> Manifest:
    raw = await read_all(found.blobs, child, limit=documents.MANIFEST_LIMIT)
    document = indexes.parse_any(raw, child.media_type)
    if not isinstance(document, Manifest):
        raise Corrupt("read cache: its index holds an index")
    return document


async def _with_config(
    found: FoundCache, config: Descriptor, layers: Sequence[Descriptor]
) -> tuple[configs.CacheConfig, list[RemoteLayer | None]]:
    if found.signer is not None:  # of what the manifest says of it, which is checked as it is read
        found.signer.check(config.annotation(ANNOTATION), config.digest, layers)
    parsed = configs.parse(await read_all(found.blobs, config, limit=configs.LIMIT))
    by_digest = {layer.digest: layer for layer in layers}
    return parsed, [_remote(found, by_digest.get(layer.blob), "") for layer in parsed.layers]


def _remote(found: FoundCache, layer: Descriptor | None, diff_id: str) -> RemoteLayer | None:
    """None for a layer that the manifest does not have or of which it does not say what it is."""
    diff_id = diff_id or (layer.annotation(DIFF_ID) if layer is not None else "")
    if layer is None or not diff_id:
        return None
    plain = layer.plain()
    converted = msgspec.structs.replace(plain, media_type=media_types.to_oci(plain.media_type))
    return RemoteLayer(converted, Digest.parse(diff_id), found.blobs, found.repository)


async def _inline(found: FoundCache, images: Sequence[Manifest]) -> _Read:
    if found.signer is not None:
        raise Denied("check its signature: what is in an image is not signed", hint="type=registry caches can be")
    read = [await _inline_of(found, image) for image in images]
    kept = [each for each in read if each is not None]
    if not kept:
        raise NotFound(
            "read cache: it is an image without an inline cache", hint="build it with --cache-to type=inline"
        )
    return kept


async def _inline_of(found: FoundCache, image: Manifest) -> tuple[configs.CacheConfig, list[RemoteLayer | None]] | None:
    raw = await read_all(found.blobs, image.config, limit=configs.LIMIT)
    config = documents.check(raw, "image config", limit=configs.LIMIT)
    text = config.get(INLINE)
    diff_ids = _diff_ids(config)
    if not text or not isinstance(text, str) or len(diff_ids) != len(image.layers):
        return None
    try:
        records = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise Corrupt("read inline cache: it is not base64") from None
    chain = tuple(configs.CacheLayer(layer.digest, number - 1) for number, layer in enumerate(image.layers))
    layers = [_remote(found, layer, diff_id) for layer, diff_id in zip(image.layers, diff_ids, strict=True)]
    return configs.parse_records(records, chain), layers


def _diff_ids(config: dict[str, Any]) -> list[str]:
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
