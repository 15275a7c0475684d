"""Two images compared, wherever each is: documents first, then the lists of the layers in which they differ.

Layers are streamed through and listed, never unpacked or kept; equal ones are not read at all, unless a difference
depends on what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trimaran import aio
from trimaran.digest import Digest
from trimaran.engine import differences
from trimaran.engine.differences import ImageDifference, ImageSide, LayerDigests, PlatformDifference
from trimaran.engine.places import PlacedImage
from trimaran.errors import Corrupt, NotFound
from trimaran.oci import image_config
from trimaran.oci.blobs import read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.index import Index
from trimaran.oci.manifest import Manifest
from trimaran.oci.matching import image_manifests
from trimaran.platforms import Platform
from trimaran.store.entries import EntryList


class _Image(msgspec.Struct, frozen=True):
    """One platform's image."""

    place: PlacedImage
    digest: Digest
    manifest: Manifest
    config: dict[str, Any]
    diff_ids: tuple[Digest, ...]

    @property
    def layers(self) -> list[LayerDigests]:
        pairs = zip(self.manifest.layers, self.diff_ids, strict=True)
        return [LayerDigests(str(d.digest), str(diff_id), d.size, d.media_type) for d, diff_id in pairs]


async def compare(before: PlacedImage, after: PlacedImage, platforms: Sequence[Platform] = ()) -> ImageDifference:
    """What differs, of `platforms` alone if some are named. NotFound when neither image has one of them."""
    same = before.root.digest == after.root.digest
    whole = ImageDifference(before=_side(before), after=_side(after), same=same)
    if same:
        return whole
    first, second = await before.document(), await after.document()
    one, other = await _images(before, first, platforms), await _images(after, second, platforms)
    if platforms and not one and not other:
        raise NotFound(f"compare images: neither has {' or '.join(map(str, platforms))}")
    compared = [await _compare(name, one[name], other[name]) for name in sorted({*one} & {*other})]
    return msgspec.structs.replace(
        whole,
        index=tuple(differences.compare_values(_head(first), _head(second))),
        only_before=tuple(sorted({*one} - {*other})),
        only_after=tuple(sorted({*other} - {*one})),
        platforms=tuple(each for each in compared if not each.is_empty),
    )


def _side(place: PlacedImage) -> ImageSide:
    return ImageSide(place.name, str(place.root.digest))


async def _images(place: PlacedImage, document: Manifest | Index, wanted: Sequence[Platform]) -> dict[str, _Image]:
    children: list[Descriptor] = [place.root]
    if isinstance(document, Index):
        children = list(image_manifests(document))
    found = {}
    for child in children:
        manifest = document if isinstance(document, Manifest) else await place.document(child)
        if not isinstance(manifest, Manifest):
            raise Corrupt(f"read {child.digest} of {place.name}: an index in an index")
        raw = await read_all(place.blobs, manifest.config)
        config = image_config.parse(raw)
        name = differences.platform_name(child.platform or config.platform)
        if wanted and name not in {differences.platform_name(platform) for platform in wanted}:
            continue
        parsed = msgspec.json.decode(raw)
        diff_ids = tuple(map(Digest.parse, (parsed.get("rootfs") or {}).get("diff_ids") or ()))
        if len(diff_ids) != len(manifest.layers):
            raise Corrupt(f"read {place.name}: {len(manifest.layers)} layers, and {len(diff_ids)} diff ids")
        found[name] = _Image(place, child.digest, manifest, parsed, diff_ids)
    return found


def _head(document: Manifest | Index) -> dict[str, Any]:
    """What a document says of itself."""
    return {"mediaType": document.media_type, "annotations": dict(document.annotations)}


async def _compare(platform: str, before: _Image, after: _Image) -> PlatformDifference:
    if before.digest == after.digest:
        return PlatformDifference(platform)
    return PlatformDifference(
        platform,
        config=tuple(differences.compare_values(_settings(before.config), _settings(after.config))),
        history=tuple(differences.compare_history(_history(before.config), _history(after.config))),
        manifest=tuple(differences.compare_values(_head(before.manifest), _head(after.manifest))),
        layers=tuple(differences.compare_layers(before.layers, after.layers)),
        files=tuple(await _files(before, after)),
    )


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in {"history", "rootfs"}}


def _history(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in config.get("history") or () if isinstance(entry, dict)]


async def _files(before: _Image, after: _Image) -> list[differences.FileChange]:
    shared = differences.common(before.diff_ids, after.diff_ids)
    known: dict[Digest, EntryList] = {}
    first = await _lists(before, range(shared, len(before.diff_ids)), known)
    second = await _lists(after, range(shared, len(after.diff_ids)), known)
    below: list[EntryList] = []
    if differences.needs_common(first, second):
        below = await _lists(before, range(shared), known)
    return await aio.in_thread(lambda _cancel: differences.compare_files(below, first, second))


async def _lists(image: _Image, numbers: range, known: dict[Digest, EntryList]) -> list[EntryList]:
    from trimaran.store.fetching import list_blob

    for number in numbers:
        diff_id = image.diff_ids[number]
        if diff_id not in known:
            known[diff_id] = await list_blob(image.place.blobs, image.manifest.layers[number], diff_id)
    return [known[image.diff_ids[number]] for number in numbers]
