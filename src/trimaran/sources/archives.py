"""Whether bytes begin an archive: what BuildKit takes for a context's archive, and zstd. Pure."""

from __future__ import annotations

from trimaran.tar.header import BLOCK_SIZE, is_header

START = 1024
"""Bytes that are enough to tell."""
_COMPRESSED = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


def is_archive(start: bytes) -> bool:
    """By the magic of a compression, or by a tar header whose checksum is right."""
    if start.startswith(_COMPRESSED):
        return True
    return is_header(start[:BLOCK_SIZE])
