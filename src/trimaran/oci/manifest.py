"""Image manifests: config and layers of one platform (OCI image-spec, manifest.md; Docker schema 2).

The raw bytes are kept beside the parsed form: a digest is never recomputed from re-serialised JSON.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.errors import Corrupt, Unsupported
from trimaran.oci import documents, media_types
from trimaran.oci.descriptor import Descriptor, DescriptorJSON, from_wire, to_wire

#: A limit on layers and manifests in one document (T37); overlayfs and docker stop far earlier.
CHILDREN_LIMIT = 4096


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    config: Descriptor
    layers: tuple[Descriptor, ...] = ()
    media_type: str = media_types.OCI_MANIFEST
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
        """What must be at a place before this manifest may be: config, then layers."""
        return (self.config, *self.layers)


class _ManifestJSON(msgspec.Struct, rename="camel"):
    schema_version: int
    config: DescriptorJSON
    layers: list[DescriptorJSON] | None
    media_type: str = ""
    artifact_type: str = ""
    subject: DescriptorJSON | None = None
    annotations: dict[str, str] | None = None


_KEYS = ("schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations", "manifests")


def check_kind(value: dict[str, Any], declared: str, what: str) -> str:
    """The media type of a manifest or index, from its own `mediaType`, else `declared`, else its shape.

    Corrupt when two of these disagree (T55b, CVE-2021-41190: one digest read as two things).
    """
    documents.refuse_lookalikes(value, _KEYS, what)
    if value.get("schemaVersion") == 1:
        raise Unsupported(
            f"parse {what}: Docker schema 1 manifests are not supported",
            hint="push the image again with a newer client",
        )
    if "manifests" in value and ("layers" in value or "config" in value):
        raise Corrupt(f"parse {what}: both an index (manifests) and an image (layers)")
    shape = media_types.OCI_INDEX if "manifests" in value else media_types.OCI_MANIFEST
    stated = value.get("mediaType") or ""
    known = declared if declared in media_types.MANIFESTS | media_types.INDEXES else ""
    if stated and known and stated != known:
        raise Corrupt(f"parse {what}: served as {known} but says it is {stated}")
    kind = stated or known or shape
    if not isinstance(kind, str) or media_types.is_index(kind) != media_types.is_index(shape):
        raise Corrupt(f"parse {what}: says it is {kind!r} but has the fields of {shape}")
    if kind not in media_types.MANIFESTS | media_types.INDEXES:
        raise Corrupt(f"parse {what}: {kind[:150]!r} is no manifest of an image")
    return kind


def parse(raw: bytes, media_type: str = "") -> Manifest:
    """Corrupt unless `raw` is a manifest in one reading only; `media_type` is what its descriptor or server said."""
    return from_value(documents.check(raw, "manifest"), raw, media_type)


def from_value(value: dict[str, Any], raw: bytes, media_type: str) -> Manifest:
    """As `parse`, of a document that `documents.check` has read already."""
    what = "manifest"
    kind = check_kind(value, media_type, what)
    if not media_types.is_manifest(kind):
        raise Corrupt(f"parse {what}: it is an index ({kind})")
    wire = documents.convert(value, _ManifestJSON, what)
    if wire.schema_version != 2:
        raise Corrupt(f"parse {what}: schemaVersion {wire.schema_version} is not 2")
    layers = wire.layers or ()
    if len(layers) > CHILDREN_LIMIT:
        raise Corrupt(f"parse {what}: {len(layers)} layers are more than {CHILDREN_LIMIT}")
    return Manifest(
        config=from_wire(wire.config, what),
        layers=tuple(from_wire(layer, what) for layer in layers),
        media_type=kind,
        artifact_type=wire.artifact_type,
        subject=from_wire(wire.subject, what) if wire.subject else None,
        annotations=tuple((wire.annotations or {}).items()),
        raw=raw,
    )


def build(
    config: Descriptor,
    layers: tuple[Descriptor, ...],
    *,
    media_type: str = media_types.OCI_MANIFEST,
    artifact_type: str = "",
    subject: Descriptor | None = None,
    annotations: tuple[tuple[str, str], ...] = (),
) -> Manifest:
    """A new manifest with BuildKit's bytes for it; no layers are `null` there."""
    wire: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        wire["artifactType"] = artifact_type
    wire["config"] = to_wire(config)
    wire["layers"] = [to_wire(layer) for layer in layers] or None
    if subject is not None:
        wire["subject"] = to_wire(subject)
    if annotations:
        wire["annotations"] = documents.sorted_pairs(annotations)
    return Manifest(
        config=config,
        layers=layers,
        media_type=media_type,
        artifact_type=artifact_type,
        subject=subject,
        annotations=tuple(sorted(annotations)),
        raw=documents.encode_indented(wire),
    )
