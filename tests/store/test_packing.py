"""Whatever the bytes of a row or a file have become: a value, or an error that everybody expects."""

from __future__ import annotations

import msgspec
import pytest

from trimaran.solver.protocols import CacheRecord
from trimaran.store.packing import pack, unpack, unpack_json


class Note(msgspec.Struct):
    text: str


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_the_value_or_an_error(bit):
    record = CacheRecord(key="sha256:k", op="sha256:o", inputs=(), results=(("run-é",),), description="RUN 1")
    for written, read in ((pack(record), CacheRecord), (msgspec.json.encode(Note("é" * 9)), Note)):
        for place in range(len(written)):
            damaged = bytearray(written)
            damaged[place] ^= 1 << bit
            try:
                unpack_json(bytes(damaged), Note) if read is Note else unpack(bytes(damaged), read)
            except msgspec.MsgspecError:
                continue


def test_bytes_that_are_no_text():
    with pytest.raises(msgspec.DecodeError):
        unpack_json(b'{"text": "\xff"}', Note)
    with pytest.raises(msgspec.DecodeError):
        unpack_json(b'{"more":' + b"[" * 100_000, Note)
    with pytest.raises(msgspec.DecodeError):
        unpack(b"\xa1\xff", str)
