"""Sparse files: archives of GNU tar 1.34, maps that lie, and what a hole may cost."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

import pytest

from trimaran.errors import Corrupt, Unsupported
from trimaran.tar import header as h
from trimaran.tar.header import Header, encode, padding
from trimaran.tar.reader import PIECE, Limits, Reader

ARCHIVES = sorted((Path(__file__).parent / "sparse").glob("*.tar.gz"))
"""Made by `tar --sparse --format=… --sparse-version=…` of: plain, sp (3 pieces in 8 MiB), many (100 pieces), allhole."""


def spread(size: int, pieces: dict[int, bytes]) -> bytes:
    content = bytearray(size)
    for at, data in pieces.items():
        content[at : at + len(data)] = data
    return bytes(content)


CONTENTS = {
    "plain": b"hello",
    "sp": spread(8 << 20, {0: b"start", 1 << 20: b"middle" * 1000, 5 << 20: b"x"}),
    "many": spread((99 << 16) + 2, {number << 16: b"%d" % number for number in range(100)}),
    "allhole": bytes(1 << 20),
}


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.name)
def test_archives_of_gnu_tar(path):
    data = gzip.decompress(path.read_bytes())
    assert len(data) < 1 << 19
    reader = Reader(io.BytesIO(data).read)
    found = {}
    while (header := reader.next()) is not None:
        content = b"".join(reader.chunks())
        assert (header.type, header.size) == (h.FILE, len(content))
        found[header.name] = hashlib.sha256(content).digest()
    assert found == {name: hashlib.sha256(content).digest() for name, content in CONTENTS.items()}


def test_they_are_all_here():
    assert [path.name.removesuffix(".tar.gz") for path in ARCHIVES] == ["gnu-0.0", "pax-0.0", "pax-0.1", "pax-1.0"]


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.name)
def test_what_is_left_of_one_is_passed(path):
    reader = Reader(io.BytesIO(gzip.decompress(path.read_bytes())).read)
    names = []
    while (header := reader.next()) is not None:
        names.append(header.name)
        for piece in reader.chunks():
            assert len(piece) <= PIECE
            break
    assert names == list(CONTENTS)


# Archives of our own, to lie with.


def pax(records, data, size=None, type_=h.FILE, name="f"):
    text = b"".join(h._pax_record(key.encode(), value) for key, value in records)
    front = encode(Header(name="x", type=h.PAX, size=len(text))) + text + padding(len(text))
    body = encode(Header(name=name, type=type_, size=len(data) if size is None else size)) + data
    return front + body + padding(len(data)) + encode(Header(name="next", size=0)) + bytes(1024)


def first(real, count, text, data=b"", **more):
    """PAX 0.1: the map in a record."""
    told = [("GNU.sparse.size", real), ("GNU.sparse.numblocks", count), ("GNU.sparse.map", text)]
    return pax([*told, ("GNU.sparse.name", b"f")], data, **more)


def zero(real, count, *pairs, data=b""):
    """PAX 0.0: two records for each region."""
    told = [("GNU.sparse.size", real), ("GNU.sparse.numblocks", count)]
    for offset, size in pairs:
        told += [("GNU.sparse.offset", offset), ("GNU.sparse.numbytes", size)]
    return pax(told, data)


def one(real, text, data=b"", size=None):
    """PAX 1.0: the map before the data."""
    told = [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", real)]
    whole = text + padding(len(text)) + data
    return pax([*told, ("GNU.sparse.name", b"f")], whole, size)


def old(real, *pairs, data=b"", magic=b"ustar  \0", more=()):
    """The old form; `more` are further blocks of pairs."""
    block = bytearray(encode(Header(name="f", size=len(data))))
    block[156:157] = b"S"
    block[257:265] = magic
    block[345:512] = bytes(167)
    block[386 : 386 + 24 * len(pairs)] = b"".join(_pair(*each) for each in pairs)
    block[482] = bool(more)
    block[483:495] = _field(real)
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
    further = b"".join(
        b"".join(_pair(*each) for each in part).ljust(504, b"\0") + bytes([number < len(more) - 1]) + bytes(7)
        for number, part in enumerate(more)
    )
    return bytes(block) + further + data + padding(len(data)) + encode(Header(name="next", size=0)) + bytes(1024)


def _field(value: int) -> bytes:
    return b"%011o\0" % value if value < 8**11 else b"\x80" + value.to_bytes(11, "big")


def _pair(offset: int, size: int) -> bytes:
    return _field(offset) + _field(size)


HONEST = {
    "0.1": (first(b"9", b"2", b"1,2,5,1", b"abc"), b"\0ab\0\0c\0\0\0"),
    "0.1, an empty region": (first(b"4", b"1", b"4,0"), bytes(4)),
    "0.1, nothing at all": (first(b"0", b"0", b""), b""),
    "0.0": (zero(b"9", b"2", (b"1", b"2"), (b"5", b"1"), data=b"abc"), b"\0ab\0\0c\0\0\0"),
    "1.0": (one(b"9", b"2\n1\n2\n5\n1\n", b"abc"), b"\0ab\0\0c\0\0\0"),
    "1.0, a map of some blocks": (one(b"9", b"300\n" + b"0\n0\n" * 299 + b"5\n1\n", b"c"), bytes(5) + b"c" + bytes(3)),
    "old": (old(9, (1, 2), (5, 1), data=b"abc"), b"\0ab\0\0c\0\0\0"),
    "old, more blocks": (
        old(70, *[(n, 1) for n in range(4)], more=([(n, 1) for n in range(5, 26)], [(60, 1)]), data=b"x" * 26),
        b"xxxx\0" + b"x" * 21 + bytes(34) + b"x" + bytes(9),
    ),
    "old, real size over 8 GiB": (old(1 << 34, (0, 1), data=b"x"), None),
}

LIARS = {
    "regions overlap": first(b"9", b"2", b"1,2,2,1", b"abc"),
    "in no order": first(b"9", b"2", b"5,1,1,2", b"abc"),
    "past the end": first(b"5", b"1", b"4,3", b"abc"),
    "more than is stored": first(b"9", b"1", b"0,4", b"abc"),
    "less than is stored": first(b"9", b"1", b"0,2", b"abc"),
    "fewer than it says": first(b"9", b"3", b"1,2,5,1", b"abc"),
    "an odd one": first(b"9", b"1", b"0,3,5", b"abc"),
    "a negative one": first(b"9", b"1", b"-1,3", b"abc"),
    "no number": first(b"9", b"1", b"0,x", b"abc"),
    "a number without end": first(b"9", b"1", b"0," + b"9" * 400, b"abc"),
    "wraps in 64 bits": first(b"9", b"2", b"9223372036854775807,3,0,0", b"abc"),
    "no real size that can be": first(str(1 << 60).encode(), b"1", b"0,3", b"abc"),
    "holes of terabytes": first(str(1 << 42).encode(), b"1", b"0,3", b"abc"),
    "0.0 with one half": zero(b"9", b"1", data=b"abc"),
    "1.0 of a billion regions": one(b"9", b"1000000000\n" + b"0\n0\n" * 400000),
    "1.0 that ends in its map": one(b"9", b"1000\n" + b"0\n0\n" * 20),
    "1.0 with no number": one(b"9", b"1\nx\n0\n"),
    "1.0 without lines": one(b"9", b"1" * 2000),
    "1.0 that is shorter than its map": one(b"9", b"1\n0\n0\n", size=3),
    "old, overlapping": old(9, (1, 2), (2, 1), data=b"abc"),
    "old, blocks without end": old(9, (0, 0), more=[[(0, 0)] * 21] * 3000),
    "old, real size beyond all": old(1 << 62, (0, 3), data=b"abc"),
    "old, another magic": old(9, (1, 2), (5, 1), data=b"abc", magic=b"ustar\x0000"),
    "old, stored beyond its size": old(2, (0, 3), data=b"abc"),
}


@pytest.mark.parametrize("name", HONEST)
def test_every_form_is_read(name):
    data, content = HONEST[name]
    reader = Reader(io.BytesIO(data).read)
    header = reader.next()
    assert (header.name, header.type) == ("f", h.FILE)
    if content is not None:
        assert header.size == len(content)
        assert b"".join(reader.chunks()) == content
    assert reader.next().name == "next"
    assert reader.next() is None


@pytest.mark.parametrize("name", LIARS)
def test_maps_that_lie_are_corrupt(name):
    with pytest.raises(Corrupt):
        Reader(io.BytesIO(LIARS[name]).read).next()


def test_holes_are_bounded_together():
    file = first(b"3000", b"0", b"")[: -512 - 1024]
    reader = Reader(io.BytesIO(file * 4).read, Limits(holes=10_000))
    for _ in range(3):
        assert reader.next().size == 3000
    with pytest.raises(Corrupt, match="holes"):
        reader.next()


def test_forms_nobody_knows_and_places_where_none_is_read():
    unknown = pax([("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")], b"")
    folder = first(b"0", b"0", b"", type_=h.FOLDER, name="f/")
    for data in (unknown, folder):
        with pytest.raises(Unsupported, match="sparse"):
            Reader(io.BytesIO(data).read).next()
    skipping = Reader(io.BytesIO(HONEST["0.1"][0]).read, skip=lambda size: None)
    with pytest.raises(Unsupported, match="sparse"):
        skipping.next()
