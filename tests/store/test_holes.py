"""Zeros take no room when a layer is unpacked, and nobody has to have it; whatever is none is counted."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.aio import Cancel
from trimaran.store.holes import WithHoles, is_zeros, with_room
from trimaran.store.unpack import read_layer
from trimaran.tar.header import Header
from trimaran.tar.writer import Writer

PIECES = st.sampled_from(
    [b"", b"x", bytes(5), bytes(4095), bytes(1 << 16), b"x" + bytes(1 << 17), bytes(300_000) + b"y"]
)


@given(st.lists(PIECES, max_size=8))
def test_a_file_with_holes_reads_as_what_was_written(tmp_path_factory, pieces):
    path = tmp_path_factory.getbasetemp() / "holes"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        file = WithHoles(fd)
        for piece in pieces:
            file.write(memoryview(piece))
        file.finish()
    finally:
        os.close(fd)
    assert path.read_bytes() == b"".join(pieces)


@given(st.integers(0, 200_000), st.integers(-1, 200_000))
def test_zeros_are_told_from_all_else(size, at):
    data = bytearray(size)
    assert is_zeros(bytes(data)) == (size > 0)
    if 0 <= at < size:
        data[at] = 1
        assert not is_zeros(memoryview(data))


def layer(*files: tuple[str, bytes]) -> bytes:
    parts: list[bytes] = []
    writer = Writer(parts.append)
    for name, data in files:
        writer.add(Header(name=name, size=len(data)))
        writer.write(data)
    writer.close()
    return b"".join(parts)


@pytest.mark.parametrize(("data", "asked"), [(bytes(40 << 20), 0), (b"s" * (40 << 20), 40 << 20)])
def test_room_is_taken_and_asked_for_by_what_is_no_zero(tmp_path, data, asked):
    taken: list[int] = []
    read = with_room(io.BytesIO(layer(("f", data), ("small", b"\0"))).read, taken.append)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpacked = read_layer(Cancel(), read, extract_to=fd)
    finally:
        os.close(fd)
    assert unpacked.entries.get("f").size == len(data)
    assert (tmp_path / "f").read_bytes() == data
    assert (tmp_path / "small").read_bytes() == b"\0"
    assert asked <= sum(taken) < asked + (4 << 20)
    assert asked <= (tmp_path / "f").stat().st_blocks * 512 < asked + (1 << 20)
