from __future__ import annotations

import io
import tarfile

import pytest

from trimaran.tar.header import Header
from trimaran.tar.writer import Writer


def test_pieces_are_large_and_the_archive_is_whole():
    pieces = []
    writer = Writer(pieces.append)
    for i in range(3000):
        writer.add(Header(name=f"f{i}", size=700))
        writer.write(b"x" * 300)
        writer.write(b"y" * 400)
    writer.close()
    data = b"".join(pieces)
    assert len(data) == writer.offset
    assert len(pieces) <= 6
    assert data.endswith(bytes(1024))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        assert len(members) == 3000
        assert archive.extractfile(members[-1]).read() == b"x" * 300 + b"y" * 400


def test_data_must_be_as_long_as_announced():
    writer = Writer(lambda piece: None)
    writer.add(Header(name="a", size=3))
    with pytest.raises(ValueError, match="too many"):
        writer.write(b"1234")
    writer.write(b"12")
    with pytest.raises(ValueError, match="missing"):
        writer.add(Header(name="b"))
    with pytest.raises(ValueError, match="missing"):
        writer.close()
