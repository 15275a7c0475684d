"""Whether bytes begin an archive: what BuildKit takes for a context's archive, and zstd. Pure."""

from __future__ import annotations

START = 1024
"""Bytes that are enough to tell."""
_COMPRESSED = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_BLOCK = 512


def is_archive(start: bytes) -> bool:
    """By the magic of a compression, or by a tar header whose checksum is right."""
    if start.startswith(_COMPRESSED):
        return True
    block = start[:_BLOCK]
    if len(block) < _BLOCK:
        return False
    try:
        stated = int(block[148:156].strip(b"\0 ") or b"0", 8)
    except ValueError:
        return False
    return stated == sum(block[:148]) + 8 * 32 + sum(block[156:])
