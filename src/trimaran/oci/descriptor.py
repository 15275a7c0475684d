"""A descriptor names bytes: media type, digest, size (OCI image-spec, descriptor.md)."""

from __future__ import annotations

import binascii
from typing import Any

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.oci import documents, media_types
from trimaran.platforms import Platform, PlatformFields


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""
    urls: tuple[str, ...] = ()
    data: bytes = b""

    @classmethod
    def of(cls, raw: bytes, media_type: str) -> Descriptor:
        """The descriptor of bytes in hand."""
        return cls(media_type=media_type, digest=Digest.of(raw), size=len(raw))

    def annotation(self, key: str) -> str:
        """The value under `key`, "" when there is none."""
        return dict(self.annotations).get(key, "")

    def plain(self) -> Descriptor:
        """Only what names the bytes: no platform, annotations, urls or data."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)


class DescriptorJSON(msgspec.Struct, rename="camel"):
    """The wire form; other documents embed it in theirs. `null` means absent, as Go reads it."""

    media_type: str
    digest: str
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    data: str | None = None
    platform: PlatformFields | None = None
    artifact_type: str = ""


def from_wire(wire: DescriptorJSON, what: str) -> Descriptor:
    """Validated: media type by RFC 6838, digest, size not negative, `data` equal to what it embeds."""
    if not media_types.valid(wire.media_type):
        raise Corrupt(f"parse {what}: media type {wire.media_type[:150]!r} is none")
    if not 0 <= wire.size < 1 << 63:
        raise Corrupt(f"parse {what}: size {wire.size} of {wire.digest[:150]!r} is out of range")
    if wire.artifact_type and not media_types.valid(wire.artifact_type):
        raise Corrupt(f"parse {what}: artifact type {wire.artifact_type[:150]!r} is no media type")
    digest = Digest.parse(wire.digest)
    return Descriptor(
        media_type=wire.media_type,
        digest=digest,
        size=wire.size,
        platform=wire.platform.platform if wire.platform is not None else None,
        annotations=tuple((wire.annotations or {}).items()),
        artifact_type=wire.artifact_type,
        urls=tuple(wire.urls or ()),
        data=_data(wire, digest, what) if wire.data else b"",
    )


def _data(wire: DescriptorJSON, digest: Digest, what: str) -> bytes:
    try:
        data = binascii.a2b_base64(wire.data or "", strict_mode=True)
    except (binascii.Error, ValueError):
        raise Corrupt(f"parse {what}: data of {digest} is not base64") from None
    hasher = digest.hasher()
    hasher.update(data)
    if len(data) != wire.size or Digest.of_hash(hasher) != digest:
        raise Corrupt(f"parse {what}: data embedded for {digest} are other bytes")
    return data


def to_wire(descriptor: Descriptor) -> dict[str, Any]:
    """JSON fields in the order of image-spec's Go struct."""
    wire: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),  # msgspec takes no subclass of str
        "size": descriptor.size,
    }
    if descriptor.urls:
        wire["urls"] = list(descriptor.urls)
    if descriptor.annotations:
        wire["annotations"] = documents.sorted_pairs(descriptor.annotations)
    if descriptor.data:
        wire["data"] = binascii.b2a_base64(descriptor.data, newline=False).decode()
    if descriptor.platform is not None:
        wire["platform"] = platform_to_wire(descriptor.platform)
    if descriptor.artifact_type:
        wire["artifactType"] = descriptor.artifact_type
    return wire


def platform_to_wire(platform: Platform) -> dict[str, Any]:
    wire: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        wire["os.version"] = platform.os_version
    if platform.os_features:
        wire["os.features"] = list(platform.os_features)
    if platform.variant:
        wire["variant"] = platform.variant
    return wire


def parse(raw: bytes) -> Descriptor:
    """A descriptor document (`imagetools create` takes them as sources)."""
    value = documents.check(raw, "descriptor")
    return from_wire(documents.convert(value, DescriptorJSON, "descriptor"), "descriptor")


def encode(descriptor: Descriptor) -> bytes:
    """Compact JSON."""
    return documents.encode(to_wire(descriptor))
