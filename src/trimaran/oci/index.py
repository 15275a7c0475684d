"""Image indexes (Docker: manifest lists): the manifests of many platforms (OCI image-spec, image-index.md)."""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.errors import Corrupt, NotFound
from trimaran.oci import documents, media_types
from trimaran.oci import manifest as manifests
from trimaran.oci.descriptor import Descriptor, DescriptorJSON, from_wire, to_wire
from trimaran.oci.manifest import CHILDREN_LIMIT, Manifest
from trimaran.platforms import Platform, only


class Index(msgspec.Struct, frozen=True, kw_only=True):
    manifests: tuple[Descriptor, ...] = ()
    media_type: str = media_types.OCI_INDEX
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    raw: bytes = b""

    @property
    def descriptor(self) -> Descriptor:
        """Of the raw bytes."""
        return Descriptor.of(self.raw, self.media_type)

    @property
    def children(self) -> tuple[Descriptor, ...]:
        return self.manifests


class _IndexJSON(msgspec.Struct, rename="camel"):
    schema_version: int
    manifests: list[DescriptorJSON] | None
    media_type: str = ""
    artifact_type: str = ""
    subject: DescriptorJSON | None = None
    annotations: dict[str, str] | None = None


def parse(raw: bytes, media_type: str = "") -> Index:
    """Corrupt unless `raw` is an index in one reading only; `media_type` is what its descriptor or server said."""
    return _from_value(documents.check(raw, "index"), raw, media_type)


def _from_value(value: dict[str, Any], raw: bytes, media_type: str) -> Index:
    what = "index"
    kind = manifests.check_kind(value, media_type, what)
    if not media_types.is_index(kind):
        raise Corrupt(f"parse {what}: it is a manifest ({kind})")
    wire = documents.convert(value, _IndexJSON, what)
    if wire.schema_version != 2:
        raise Corrupt(f"parse {what}: schemaVersion {wire.schema_version} is not 2")
    children = wire.manifests or ()
    if len(children) > CHILDREN_LIMIT:
        raise Corrupt(f"parse {what}: {len(children)} manifests are more than {CHILDREN_LIMIT}")
    return Index(
        manifests=tuple(from_wire(child, what) for child in children),
        media_type=kind,
        artifact_type=wire.artifact_type,
        subject=from_wire(wire.subject, what) if wire.subject else None,
        annotations=tuple((wire.annotations or {}).items()),
        raw=raw,
    )


def parse_any(raw: bytes, media_type: str = "") -> Manifest | Index:
    """Whichever of the two `raw` is."""
    value = documents.check(raw, "manifest")
    kind = manifests.check_kind(value, media_type, "manifest")
    if media_types.is_index(kind):
        return _from_value(value, raw, media_type)
    return manifests.from_value(value, raw, media_type)


def build(
    children: tuple[Descriptor, ...],
    *,
    media_type: str = media_types.OCI_INDEX,
    artifact_type: str = "",
    subject: Descriptor | None = None,
    annotations: tuple[tuple[str, str], ...] = (),
) -> Index:
    """A new index with BuildKit's bytes for it."""
    wire: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        wire["artifactType"] = artifact_type
    wire["manifests"] = [to_wire(child) for child in children]
    if subject is not None:
        wire["subject"] = to_wire(subject)
    if annotations:
        wire["annotations"] = documents.sorted_pairs(annotations)
    return Index(
        manifests=children,
        media_type=media_type,
        artifact_type=artifact_type,
        subject=subject,
        annotations=tuple(sorted(annotations)),
        raw=documents.encode_indented(wire),
    )


def pick(index: Index, platform: Platform, name: str) -> Descriptor:
    """The manifest that serves `platform` best; NotFound says what the image `name` has instead."""
    candidates = [
        child for child in index.manifests if media_types.is_manifest(child.media_type) and child.platform is not None
    ]
    best = only(platform).best([child.platform for child in candidates if child.platform is not None])
    if best is None:
        offered = ", ".join(str(child.platform) for child in candidates if str(child.platform) != "unknown/unknown")
        raise NotFound(
            f"pick an image of {name} for {platform}: no match for platform in manifest",
            hint=f"it has {offered or 'no image manifests'}",
        )
    return candidates[best]
