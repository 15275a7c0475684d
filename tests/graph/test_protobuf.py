"""The codec itself: the wire format's corners, strictness, and bytes that no input can make it fall over."""

from enum import IntEnum

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import Corrupt
from trimaran.graph.protobuf import (
    BOOL,
    BYTES,
    INT32,
    INT64,
    STRING,
    UINT32,
    UINT64,
    Message,
    enum,
    field,
    mapping,
    oneof,
    repeated,
    single,
    varint,
)  # fmt: skip


class Colour(IntEnum):
    RED = 0
    BLUE = 2


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


class Everything(msgspec.Struct, frozen=True, kw_only=True):
    text: str = ""
    data: bytes = b""
    yes: bool = False
    small: int = 0
    large: int = 0
    unsigned: int = 0
    huge: int = 0
    colour: Colour = Colour.RED
    point: Point | None = None
    texts: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    points: tuple[Point, ...] = ()
    pairs: tuple[tuple[str, int], ...] = ()
    choice: int | str | None = None
    wrapped: int | None = None


POINT = Message("Point", Point, field(1, "x", INT64), field(2, "y", INT64))
EVERYTHING = Message(
    "Everything",
    Everything,
    field(16, "wrapped", single("Wrapped", field(1, "value", INT32))),
    field(1, "text", STRING),
    field(2, "data", BYTES),
    field(3, "yes", BOOL),
    field(4, "small", INT32),
    field(5, "large", INT64),
    field(6, "unsigned", UINT32),
    field(7, "huge", UINT64),
    field(8, "colour", enum(Colour)),
    field(9, "point", POINT),
    repeated(10, "texts", STRING),
    repeated(11, "numbers", INT32),
    repeated(12, "points", POINT),
    mapping(13, "pairs", STRING, INT64),
    oneof("choice", ((14, int, UINT32), (15, str, STRING))),
)


def integers(bits, *, signed):
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else st.integers(0, (1 << bits) - 1)


POINTS = st.builds(Point, integers(64, signed=True), integers(64, signed=True))
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.builds(
    Everything,
    text=TEXT,
    data=st.binary(max_size=200),
    yes=st.booleans(),
    small=integers(32, signed=True),
    large=integers(64, signed=True),
    unsigned=integers(32, signed=False),
    huge=integers(64, signed=False),
    colour=st.sampled_from(Colour),
    point=st.none() | POINTS,
    texts=st.lists(TEXT, max_size=3).map(tuple),
    numbers=st.lists(integers(32, signed=True), max_size=4).map(tuple),
    points=st.lists(POINTS, max_size=3).map(tuple),
    pairs=st.dictionaries(TEXT, integers(64, signed=True), max_size=3).map(lambda d: tuple(sorted(d.items()))),
    choice=st.none() | integers(32, signed=False) | TEXT,
    wrapped=st.none() | integers(32, signed=True),
)


@given(VALUES)
def test_decode_reverses_encode(value):
    data = EVERYTHING.encode(value)
    assert EVERYTHING.decode(data) == value
    assert EVERYTHING.encode(EVERYTHING.decode(data)) == data


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_corrupt(data):
    for skip in (False, True):
        try:
            value = EVERYTHING.decode(data, skip_unknown=skip)
        except Corrupt:
            continue
        assert EVERYTHING.decode(EVERYTHING.encode(value)) == value


@given(VALUES, st.data())
def test_damage_is_corrupt_or_another_value(value, data):
    good = bytearray(EVERYTHING.encode(value))
    if good:
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
        test_any_bytes_decode_or_are_corrupt.hypothesis.inner_test(bytes(good))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"\x0a", "cut off"),
        (b"\x0a\x05abc", "field 1 is cut off"),
        (b"\x0a\x01\xff", "text: a string is not UTF-8"),
        (b"\x0a\x01a\x0a\x01b", "text: it is given twice"),
        (b"\x08\x01", "text: wire type 0 where 2 is due"),
        (b"\x00\x01", "0 is not a field number"),
        (b"\x0b", "3 is not a wire type"),
        (b"\x18\x02", "yes: 2 is not a bool"),
        (b"\x20" + varint(1 << 31), "small: 2147483648 is not an int32"),
        (b"\x30" + varint(1 << 32), "unsigned: 4294967296 is not an uint32"),
        (b"\x28" + b"\xff" * 10, "cut off or too long"),
        (b"\x28" + b"\xff" * 9 + b"\x02", "cut off or too long"),
        (b"\x40\x01", "colour: 1 is not a Colour"),
        (b"\x40" + b"\xff" * 9 + b"\x01", "is not a Colour"),
        (b"\x4a\x02\x18\x01", "point: unknown field 3"),
        (b"\xa8\x06\x01", "unknown field 101"),
        (b"\x5a\x01\x80", "numbers: a number is cut off"),
        (b"\x6a\x03\x0a\x01a\x6a\x03\x0a\x01a", "a key is given twice"),
        (b"\x70\x01\x7a\x01a", "choice: it is given twice"),
    ],
)
def test_refuses(data, cause):
    with pytest.raises(Corrupt, match="decode Everything: ") as caught:
        EVERYTHING.decode(data)
    assert cause in str(caught.value)


def test_a_newer_peer_may_send_more():
    data = b"\x0a\x01a" + b"\xa8\x06\x01" + b"\xb2\x06\x01x" + b"\xb9\x06" + b"x" * 8 + b"\xbd\x06" + b"x" * 4
    assert EVERYTHING.decode(data, skip_unknown=True) == Everything(text="a")
    assert EVERYTHING.decode(b"\x4a\x02\x18\x01", skip_unknown=True) == Everything(point=Point(0, 0))


def test_unpacked_numbers_are_read():
    assert EVERYTHING.decode(b"\x58\x01\x58\x02\x5a\x02\x03\x04").numbers == (1, 2, 3, 4)


def test_fields_are_in_order_with_the_oneof_last_and_zeros_left_out():
    assert EVERYTHING.encode(Everything()) == b""
    assert EVERYTHING.encode(Everything(wrapped=0, choice=0, text="a")) == b"\x0a\x01a\x82\x01\x00\x70\x00"


@pytest.mark.parametrize(
    "value",
    [
        Everything(small=1 << 31), Everything(unsigned=-1), Everything(large=1 << 63), Everything(text="\udc80"),
        Everything(colour=7), Everything(pairs=(("a", 1), ("a", 2))),
    ],
)  # fmt: skip
def test_encode_refuses_what_does_not_fit(value):
    with pytest.raises(Corrupt):
        EVERYTHING.encode(value)
