"""How layers are compressed: kinds, levels, and the identity of the encoder that makes a blob (see `encoders`).

Pure.
"""

from __future__ import annotations

import zlib

import msgspec

from trimaran.oci import media_types

GZIP = "gzip"
ZSTD = "zstd"
UNCOMPRESSED = "uncompressed"

_OCI = {UNCOMPRESSED: media_types.OCI_LAYER, GZIP: media_types.OCI_LAYER_GZIP, ZSTD: media_types.OCI_LAYER_ZSTD}
_DOCKER = {
    UNCOMPRESSED: media_types.DOCKER_LAYER,
    GZIP: media_types.DOCKER_LAYER_GZIP,
    ZSTD: media_types.DOCKER_LAYER_ZSTD,
}


class Compression(msgspec.Struct, frozen=True):
    """How a layer's tar becomes a blob. `level` None is the kind's default; gzip 0 stores, 1 to 9; zstd
    1 to 22, 0 is its default."""

    kind: str = GZIP
    level: int | None = None
    portable: bool = False
    """Make gzip with zlib, whose bytes are the same on every processor: five times as much work as with ISA-L."""

    def media_type(self, *, docker: bool = False) -> str:
        return (_DOCKER if docker else _OCI)[self.kind]

    @property
    def identity(self) -> str:
        """Names the encoder and all that decides its bytes; equal identity and content: equal blob."""
        if self.kind == GZIP:
            return f"gzip-{self.library}-2/{self.encoder_level}"
        if self.kind == ZSTD:
            from trimaran.zstd import encoder_name

            return f"zstd-{encoder_name()}-2/{self.encoder_level}"
        return UNCOMPRESSED

    @property
    def library(self) -> str:
        """What deflates: `isal`, or `zlib`, or another library that calls itself zlib, with its version."""
        if not self.portable:
            try:
                import isal.isal_zlib  # noqa: F401 - whether it is there
            except ImportError:
                pass
            else:
                return "isal"
        return zlib_name()

    @property
    def encoder_level(self) -> int:
        """The library's own level: ISA-L has three, and its default serves for ours; zlib's 1 makes blobs as small."""
        if self.kind == ZSTD:
            return self.level or 3
        if self.level == 0:
            return 0
        if self.library == "isal":
            return 2 if self.level is None else 1 + (self.level - 1) // 3
        return (1 if self.portable else 6) if self.level is None else self.level


def kind_of(media_type: str) -> str:
    """The kind a layer's media type promises; UNCOMPRESSED for anything unknown (the bytes decide in the end)."""
    if media_type.endswith(("+gzip", ".gzip")):
        return GZIP
    if media_type.endswith(("+zstd", ".zstd")):
        return ZSTD
    return UNCOMPRESSED


def zlib_name() -> str:
    """`zlib` for the original, whose bytes have been the same for many years; replacements (zlib-ng) have their own."""
    version = zlib.ZLIB_RUNTIME_VERSION
    return "zlib" if all(part.isdigit() for part in version.split(".")) else f"zlib-{version}"
