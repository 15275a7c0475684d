"""What `--cache-from` and `--cache-to` ask for, typed: one Struct per `type=` keyword.

Law: no text that still needs parsing lives here; csv values, keys and units were checked at the edge that read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from trimaran.sources.given import KeySource

CacheMode = Literal["min", "max"]
CacheCompression = Literal["gzip", "zstd", "uncompressed"]

TYPES = ("registry", "local", "inline", "s3")
"""What `type=` may be."""
DEADLINE = 600
"""Seconds an export may take unless `timeout=` says otherwise."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Where in S3 (or what speaks like it). Empty credentials: those of the environment, as AWS's tools find them."""

    bucket: str
    region: str = ""
    prefix: str = ""
    blobs_prefix: str = "blobs/"
    manifests_prefix: str = "manifests/"
    endpoint_url: str = ""
    use_path_style: bool = False
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""


class Signing(msgspec.Struct, frozen=True):
    """By which key a cache is signed, or has to be; `scope` is the name it is for, "" its own."""

    key: KeySource
    scope: str = ""


class RegistryImport(msgspec.Struct, frozen=True, tag=True):
    """`insecure`: spoken to without verified TLS, or without any."""

    ref: str
    insecure: bool = False
    signing: Signing | None = None


class LocalImport(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """`digest` wins over `tag`."""

    src: str
    tag: str = "latest"
    digest: str = ""
    signing: Signing | None = None


class S3Import(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    bucket: Bucket
    name: str = "buildkit"
    signing: Signing | None = None


CacheImport = RegistryImport | LocalImport | S3Import


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What all exports share. `ignore_error` None: a failure is one warning (False makes it the build's)."""

    mode: CacheMode = "min"
    compression: CacheCompression = "gzip"
    level: int | None = None
    force_compression: bool = False
    ignore_error: bool | None = None
    timeout: int = DEADLINE
    signing: Signing | None = None


class ManifestOptions(ExportOptions, frozen=True, kw_only=True):
    """As an image manifest, or (not `image_manifest`) as an index."""

    image_manifest: bool = True
    oci_media_types: bool = True


class RegistryExport(ManifestOptions, frozen=True, kw_only=True, tag=True):
    ref: str
    insecure: bool = False


class LocalExport(ManifestOptions, frozen=True, kw_only=True, tag=True):
    """`reset`: what the folder had before goes."""

    dest: str
    tag: str = "latest"
    reset: bool = False


class S3Export(ExportOptions, frozen=True, kw_only=True, tag=True):
    bucket: Bucket
    names: tuple[str, ...] = ("buildkit",)
    upload_parallelism: int = 4


class InlineExport(msgspec.Struct, frozen=True, tag=True):
    """In the config of every image that is exported."""


CacheExport = RegistryExport | LocalExport | S3Export | InlineExport


def signings_of(imports: Sequence[CacheImport], exports: Sequence[CacheExport]) -> list[Signing]:
    """How each of them is signed that is."""
    told = [each.signing for each in (*imports, *exports) if not isinstance(each, InlineExport)]
    return [signing for signing in told if signing is not None]
