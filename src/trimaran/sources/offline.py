"""`--offline`: what this machine has, and a plain word about what it has not."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from trimaran.errors import NotFound
from trimaran.oci.blobs import Reader, Sink
from trimaran.oci.descriptor import Descriptor

_KEPT = "build once without --offline: then it is kept"


def missing(what: str, *, hint: str = _KEPT) -> NotFound:
    """The error for something that would have to be asked for."""
    return NotFound(
        f"{what}: it is not on this machine, and --offline lets nobody be asked",
        hint=hint,
    )


class Offline:
    """`oci.Blobs` of a place that may not be asked: it has nothing."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def has(self, descriptor: Descriptor) -> bool:
        del descriptor
        return False

    def read(self, descriptor: Descriptor) -> AbstractAsyncContextManager[Reader]:
        raise missing(f"read {descriptor.digest} of {self._name}")

    def ingest(self, media_type: str, expected: Descriptor | None = None) -> AbstractAsyncContextManager[Sink]:
        raise AssertionError("nothing is written to where images come from")
