"""What every place with content must do: run by each member's own tests with a maker of an empty place.

`make` is an async context manager that yields a `Blobs`.
"""

import os

import pytest

from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound
from trimaran.oci.blobs import is_present, read_all
from trimaran.oci.descriptor import Descriptor

LAYER = "application/vnd.oci.image.layer.v1.tar"


async def write(place, raw, *, expected=None, piece=70_000, media_type=LAYER):
    async with place.ingest(media_type, expected) as sink:
        if not is_present(sink):
            for start in range(0, len(raw), piece):
                await sink.write(raw[start : start + piece])
        return await sink.commit(expected)


async def round_trip(place):
    for size in (0, 1, 65_536, 3_000_001):
        for known in (False, True):
            raw = os.urandom(size)
            wanted = Descriptor.of(raw, LAYER)
            if size:
                assert not await place.has(wanted)
            got = await write(place, raw, expected=wanted if known else None)
            assert got.plain() == wanted
            assert await place.has(wanted)
            assert await read_all(place, wanted) == raw


async def idempotent(place):
    raw = os.urandom(1000)
    wanted = Descriptor.of(raw, LAYER)
    for _ in range(2):
        assert (await write(place, raw, expected=wanted)).digest == wanted.digest
    assert await read_all(place, wanted) == raw


async def refuses_other_bytes(place):
    right = Descriptor.of(b"right", LAYER)
    for wrong in (b"wrong", b"righ", b"right!"):
        with pytest.raises(Corrupt):
            await write(place, wrong, expected=right)
        assert not await place.has(right)
        assert not await place.has(Descriptor.of(wrong, LAYER))


async def refuses_other_bytes_at_commit(place):
    right = Descriptor.of(os.urandom(100), LAYER)
    with pytest.raises(Corrupt):  # noqa: PT012 - the block is what is tested
        async with place.ingest(LAYER) as sink:
            await sink.write(b"wrong")
            await sink.commit(right)
    assert not await place.has(right)


async def nothing_without_commit(place):
    raw = os.urandom(200_000)
    wanted = Descriptor.of(raw, LAYER)
    async with place.ingest(LAYER, wanted) as sink:
        await sink.write(raw)
    assert not await place.has(wanted)
    with pytest.raises(RuntimeError):  # noqa: PT012 - as above
        async with place.ingest(LAYER) as sink:
            await sink.write(raw)
            raise RuntimeError
    assert not await place.has(wanted)


async def missing(place):
    absent = Descriptor(media_type=LAYER, digest=Digest.of(b"absent"), size=6)
    assert not await place.has(absent)
    with pytest.raises(NotFound):
        async with place.read(absent):
            pass


async def sha512(place):
    import hashlib

    raw = os.urandom(5000)
    wanted = Descriptor(media_type=LAYER, digest=Digest.of_hash(hashlib.sha512(raw)), size=len(raw))
    await write(place, raw, expected=wanted)
    assert await read_all(place, wanted) == raw


async def size_is_checked(place):
    raw = os.urandom(1000)
    right = Descriptor.of(raw, LAYER)
    await write(place, raw, expected=right)
    lying = Descriptor(media_type=LAYER, digest=right.digest, size=999)
    assert not await place.has(lying)
    with pytest.raises((Corrupt, NotFound)):
        await read_all(place, lying)


ALL = (
    round_trip,
    idempotent,
    refuses_other_bytes,
    refuses_other_bytes_at_commit,
    nothing_without_commit,
    missing,
    size_is_checked,
)
"""sha512 is apart: not every registry takes it."""
