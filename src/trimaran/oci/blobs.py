"""`Blobs`: any place with content by digest (the store, a registry repository, an OCI layout).

The contract every member is checked against by tests/contracts/blobs.py.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from trimaran.digest import Digest
from trimaran.oci.descriptor import Descriptor

CHUNK = 1 << 20
"""Bytes per async hop: 64 KiB hops were measured six times slower."""


class Reader(Protocol):
    """Bytes of one blob. Verified: the read that reaches the end raises Corrupt unless digest and size are right."""

    async def read(self, size: int = CHUNK) -> bytes:
        """Up to `size` bytes; b"" only at the end, after verification."""
        ...


class Sink(Protocol):
    """Takes one blob's bytes. Leaving the context without `commit` keeps nothing."""

    async def write(self, data: bytes) -> None: ...

    async def commit(self, expected: Descriptor | None = None) -> Descriptor:
        """The bytes are durable and readable under their digest when this returns; idempotent when they were there.

        Corrupt when `expected` names another digest or size; then nothing is kept.
        """
        ...


class Blobs(Protocol):
    async def has(self, descriptor: Descriptor) -> bool: ...

    def read(self, descriptor: Descriptor) -> AbstractAsyncContextManager[Reader]:
        """NotFound on entering when it is not here."""
        ...

    def ingest(self, media_type: str, expected: Descriptor | None = None) -> AbstractAsyncContextManager[Sink]:
        """A sink for new bytes; `expected` (when known) lets a place skip, mount or resume."""
        ...


def is_present(sink: Sink) -> bool:
    """Whether the place has the expected bytes already (it had, or mounted them): commit without writing anything.

    A sink that can tell has an attribute `present`; without one the bytes are to be written.
    """
    return bool(getattr(sink, "present", False))


async def copy_to(reader: Reader, fd: int, count: Callable[[int], object]) -> bool:
    """Write the whole blob to an open file or pipe, at its position, telling `count` of bytes; OSError when that fails.

    A reader that can do it better than by `read` has a method `copy_to`; without one nothing is done: False.
    """
    method = getattr(reader, "copy_to", None)
    if method is None:
        return False
    await method(fd, count)
    return True


async def read_all(blobs: Blobs, descriptor: Descriptor, *, limit: int = 16 << 20) -> bytes:
    """A small document whole, verified; Corrupt when it is (declared) larger than `limit` bytes."""
    from trimaran.errors import Corrupt

    if descriptor.size > limit:
        raise Corrupt(f"read {descriptor.digest}: {descriptor.size} bytes is more than the {limit} allowed for it")
    parts = []
    async with blobs.read(descriptor) as reader:
        while chunk := await reader.read():
            parts.append(chunk)
    return b"".join(parts)


__all__ = ["CHUNK", "Blobs", "Digest", "Reader", "Sink", "copy_to", "is_present", "read_all"]
