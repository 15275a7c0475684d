"""Is an image whole and true? Walks it and reads every byte: digests, sizes, diff ids, history, unreadable layers."""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Corrupt, TrimaranError, Unsupported
from trimaran.oci import documents, image_config, media_types
from trimaran.oci.blobs import CHUNK, Blobs, read_all
from trimaran.oci.copy import content_of
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.index import parse_any
from trimaran.oci.manifest import Manifest


class Finding(msgspec.Struct, frozen=True):
    """Something wrong with what `digest` names."""

    digest: Digest
    problem: str


async def validate(root: Descriptor, blobs: Blobs) -> tuple[Finding, ...]:
    """All that is wrong under `root`; () for a good image. Cost: reads and unpacks every layer once."""
    try:
        content = await content_of(root, blobs)
    except TrimaranError as error:
        return (Finding(root.digest, str(error)),)
    findings: list[Finding] = []
    checked: dict[Digest, Digest | None] = {}
    for descriptor, raw in content.documents:
        document = parse_any(raw, descriptor.media_type)
        if isinstance(document, Manifest):
            findings += await _manifest(descriptor, document, blobs, checked)
    return tuple(findings)


async def _manifest(
    descriptor: Descriptor, manifest: Manifest, blobs: Blobs, checked: dict[Digest, Digest | None]
) -> list[Finding]:
    findings: list[Finding] = []
    if manifest.config.media_type not in media_types.CONFIGS:
        return await _artifact(manifest, blobs)
    try:
        config = image_config.parse(await read_all(blobs, manifest.config, limit=documents.CONFIG_LIMIT))
    except TrimaranError as error:
        return [Finding(manifest.config.digest, str(error))]
    if len(config.diff_ids) != len(manifest.layers):
        findings.append(
            Finding(
                descriptor.digest, f"{len(manifest.layers)} layers, but {len(config.diff_ids)} diff ids in its config"
            )
        )
    filled = sum(not entry.empty_layer for entry in config.history)
    if config.history and filled != len(config.diff_ids):
        findings.append(
            Finding(manifest.config.digest, f"history tells of {filled} layers, rootfs of {len(config.diff_ids)}")
        )
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=False):
        if media_types.is_nondistributable(layer.media_type):
            continue
        try:
            if layer.digest not in checked:
                checked[layer.digest] = await diff_id_of(layer, blobs)
            if checked[layer.digest] != diff_id:
                findings.append(Finding(layer.digest, f"unpacks to {checked[layer.digest]}, its diff id is {diff_id}"))
        except TrimaranError as error:
            checked[layer.digest] = None
            findings.append(Finding(layer.digest, str(error)))
    return findings


async def _artifact(manifest: Manifest, blobs: Blobs) -> list[Finding]:
    """No image (an attestation, a cache): its bytes only have to be there and right."""
    findings = []
    for child in manifest.children:
        try:
            async with blobs.read(child) as reader:
                while await reader.read(CHUNK):
                    pass
        except TrimaranError as error:
            findings.append(Finding(child.digest, str(error)))
    return findings


async def diff_id_of(layer: Descriptor, blobs: Blobs) -> Digest:
    """The digest of a layer's unpacked tar; Corrupt when it does not unpack."""
    hasher = Digest.of(b"").hasher()
    unpack = _unpacker(media_types.compression(layer.media_type), layer)
    async with blobs.read(layer) as reader:
        while chunk := await reader.read(CHUNK):
            await aio.in_thread(_unpack, unpack, chunk, hasher)
    unpack(b"", hasher)
    return Digest.of_hash(hasher)


def _unpack(_cancel: Cancel, unpack: Any, chunk: bytes, hasher: Any) -> None:
    unpack(chunk, hasher)


def _unpacker(compression: str, layer: Descriptor) -> Any:
    """A function that unpacks a chunk into a hasher; an empty chunk is the end."""
    if not compression:
        return lambda data, hasher: hasher.update(data)
    if compression == "gzip":
        return _Gzip(layer)
    if compression == "zstd":
        return _Zstd(layer)
    raise Unsupported(f"unpack {layer.digest}: compression {compression}")


class _Gzip:
    """Any number of gzip members in a row (RFC 1952 §2.2)."""

    def __init__(self, layer: Descriptor) -> None:
        self._layer = layer
        self._inflate: Any = None

    def __call__(self, data: bytes, hasher: Any) -> None:
        import zlib

        if not data:
            if self._inflate is not None:
                raise Corrupt(f"unpack {self._layer.digest}: gzip stream is cut off")
            return
        try:
            while data:
                if self._inflate is None:
                    self._inflate = zlib.decompressobj(wbits=31)
                hasher.update(self._inflate.decompress(data, 8 * CHUNK))
                while self._inflate.unconsumed_tail:
                    hasher.update(self._inflate.decompress(self._inflate.unconsumed_tail, 8 * CHUNK))
                data = b""
                if self._inflate.eof:
                    data, self._inflate = self._inflate.unused_data, None
        except zlib.error as error:
            raise Corrupt(f"unpack {self._layer.digest}: {error}") from None


class _Zstd:
    """Any number of zstd frames in a row."""

    def __init__(self, layer: Descriptor) -> None:
        from trimaran.zstd import Decoder

        self._layer = layer
        self._decoder = Decoder()

    def __call__(self, data: bytes, hasher: Any) -> None:
        try:
            for piece in self._decoder.feed(data):
                hasher.update(piece)
            if not data:
                self._decoder.finish()
        except Corrupt as error:
            raise Corrupt(f"unpack {self._layer.digest}: {error}") from None
