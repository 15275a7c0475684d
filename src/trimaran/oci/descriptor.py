"""A descriptor names bytes: media type, digest, size (OCI image-spec, descriptor.md)."""

from __future__ import annotations

import msgspec

from trimaran.digest import Digest
from trimaran.platforms import Platform


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""
    urls: tuple[str, ...] = ()
    data: bytes = b""
