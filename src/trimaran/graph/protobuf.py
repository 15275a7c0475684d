"""Protocol buffers (proto3 wire format) from declared tables: field number, attribute, kind.

Encoding is deterministic: fields by number with a oneof after them all (the order of Go's library, on whose bytes
BuildKit's digests rest), map keys sorted, zero values left out. Decoding is strict: malformed input, a singular field
given twice, values out of range and unknown enum values are Corrupt; unknown fields too, unless the caller says
`skip_unknown` (messages of a peer that may be newer). A decoded value has wire defaults, not its class's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from operator import attrgetter
from typing import Any, Generic, TypeVar

from trimaran.errors import Corrupt

T = TypeVar("T")

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MASK64 = (1 << 64) - 1

Dump = Callable[[Any], bytes]
Write = Callable[[bytearray, Any], None]


class Kind:
    """How one value looks on the wire: `dump` gives its bytes (without length), `load` takes what was read.

    `load` gets an int for a varint, bytes for a length-delimited value, and whether unknown fields are skipped.
    """

    __slots__ = ("dump", "load", "wire", "zero")

    def __init__(self, wire: int, zero: Any, dump: Dump, load: Callable[[Any, bool], Any]) -> None:
        self.wire = wire
        self.zero = zero
        self.dump = dump
        self.load = load


_SMALL = [bytes((number,)) for number in range(128)]


def varint(number: int) -> bytes:
    """LEB128 of a number from 0 to 2^64-1."""
    if number < 128:
        return _SMALL[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _integer(name: str, low: int, high: int) -> Kind:
    def dump(value: int) -> bytes:
        if not low <= value <= high:
            raise Corrupt(f"encode {name}: {value} is out of range")
        return varint(value & _MASK64)

    def load(raw: int, _skip: bool) -> int:
        value = raw - (1 << 64) if low < 0 and raw >> 63 else raw
        if not low <= value <= high:
            raise Corrupt(f"{value} is not an {name}")
        return value

    return Kind(_VARINT, 0, dump, load)


def _load_bool(raw: int, _skip: bool) -> bool:
    if raw > 1:
        raise Corrupt(f"{raw} is not a bool")
    return raw == 1


def _dump_string(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise Corrupt(f"encode string {value[:100]!r}: it is not Unicode") from None


def _load_string(raw: bytes, _skip: bool) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Corrupt("a string is not UTF-8") from None


INT32 = _integer("int32", -(1 << 31), (1 << 31) - 1)
INT64 = _integer("int64", -(1 << 63), (1 << 63) - 1)
UINT32 = _integer("uint32", 0, (1 << 32) - 1)
UINT64 = _integer("uint64", 0, _MASK64)
BOOL = Kind(_VARINT, False, lambda value: b"\1" if value else b"\0", _load_bool)
STRING = Kind(_LENGTH, "", _dump_string, _load_string)
BYTES = Kind(_LENGTH, b"", bytes, lambda raw, _skip: raw)


def enum(values: type[IntEnum]) -> Kind:
    """A closed enum: a number without a name is refused both ways (T05)."""

    def load(raw: int, _skip: bool) -> IntEnum:
        try:
            return values(raw)
        except ValueError:
            raise Corrupt(f"{raw} is not a {values.__name__}") from None

    return Kind(_VARINT, values(0), lambda value: varint(load(value, False)), load)


def adapted(kind: Kind, to_wire: Callable[[Any], Any], from_wire: Callable[[Any], Any]) -> Kind:
    """`kind` for values that look otherwise in our Structs; None stays None."""
    inner_dump, inner_load = kind.dump, kind.load
    return Kind(
        kind.wire, None, lambda value: inner_dump(to_wire(value)), lambda raw, skip: from_wire(inner_load(raw, skip))
    )


class Field:
    """One attribute of a message: the numbers it owns, how it is read off the value, written and taken in.

    `finish` turns the values met into the attribute; None: the field is singular.
    """

    __slots__ = ("finish", "get", "is_oneof", "kinds", "name", "required", "write", "zero")

    def __init__(self, name: str, kinds: dict[int, Kind], write: Write, zero: Any, *, required: bool = False) -> None:
        self.name = name
        self.kinds = kinds
        self.write = write
        self.zero = zero
        self.required = required
        self.get: Callable[[Any], Any] = attrgetter(name)
        self.finish: Callable[[list[Any]], tuple[Any, ...]] | None = None
        self.is_oneof = False


def _writer(number: int, kind: Kind) -> Write:
    """Append one value with its tag, whatever it is."""
    tag, dump = varint(number << 3 | kind.wire), kind.dump

    def write_varint(out: bytearray, value: Any) -> None:
        out += tag
        out += dump(value)

    def write_length(out: bytearray, value: Any) -> None:
        data = dump(value)
        size = len(data)
        out += tag
        out += _SMALL[size] if size < 128 else varint(size)
        out += data

    return write_varint if kind.wire == _VARINT else write_length


def field(
    number: int,
    name: str,
    kind: Kind,
    *,
    required: bool = False,
    zero: Any = None,
    get: Callable[[Any], Any] | None = None,
) -> Field:
    """A singular field. A message is written unless None, anything else unless zero; `get` reads it another way.

    `zero` is what an absent message means; `required`: its absence is an error.
    """
    one = _writer(number, kind)

    def write_unless_none(out: bytearray, value: Any) -> None:
        if value is not None:
            one(out, value)

    def write_unless_zero(out: bytearray, value: Any) -> None:
        if value:
            one(out, value)

    write = write_unless_none if kind.zero is None else write_unless_zero
    item = Field(name, {number: kind}, write, zero if kind.zero is None else kind.zero, required=required)
    item.get = get or item.get
    return item


def repeated(number: int, name: str, kind: Kind) -> Field:
    """A tuple; numbers are packed."""
    one, dump = _writer(number, kind), kind.dump
    packed = _writer(number, BYTES)

    def write_each(out: bytearray, values: Any) -> None:
        for value in values:
            one(out, value)

    def write_packed(out: bytearray, values: Any) -> None:
        if values:
            packed(out, b"".join(map(dump, values)))

    item = Field(name, {number: kind}, write_packed if kind.wire == _VARINT else write_each, ())
    item.finish = tuple
    return item


def mapping(number: int, name: str, key: Kind, value: Kind) -> Field:
    """A map, as a tuple of pairs ordered by key. A key given twice is an error both ways."""
    write_key, write_value = _writer(1, key), _writer(2, value)

    def dump(pair: Any) -> bytes:
        out = bytearray()
        write_key(out, pair[0])  # both are written even when zero, as all implementations do
        write_value(out, pair[1])
        return bytes(out)

    def ordered(pairs: Any) -> tuple[Any, ...]:
        if len(dict(pairs)) != len(pairs):
            raise Corrupt(f"map {name}: a key is given twice")
        return tuple(sorted(pairs, key=lambda pair: pair[0]))

    # what an entry without a value means; kinds other than messages know it themselves
    empty = value.load(b"", False) if value.zero is None else value.zero
    fields = field(1, "key", key), field(2, "value", value, zero=empty)
    entry = Message(f"{name} entry", lambda key, value: (key, value), *fields)
    one = _writer(number, Kind(_LENGTH, None, dump, entry.load))

    def write(out: bytearray, pairs: Any) -> None:
        if pairs:
            for pair in ordered(pairs):
                one(out, pair)

    item = Field(name, {number: entry}, write, ())
    item.finish = ordered
    return item


def oneof(name: str, choices: Iterable[tuple[int, type, Kind]], *, required: bool = False) -> Field:
    """One of several, told apart by the value's class; written even when zero, absent when None."""
    choices = tuple(choices)
    writers = {cls: _writer(number, kind) for number, cls, kind in choices}

    def write(out: bytearray, value: Any) -> None:
        if value is not None:
            writers[value.__class__](out, value)

    item = Field(name, {number: kind for number, _, kind in choices}, write, None, required=required)
    item.is_oneof = True
    return item


class Message(Kind, Generic[T]):
    """A message: `build(**attributes)` makes its value. A kind itself, so messages nest."""

    __slots__ = ("_by_number", "_fields", "_writers", "build", "name")

    def __init__(self, name: str, build: Callable[..., T], *fields: Field) -> None:
        super().__init__(_LENGTH, None, self.encode, self._load)
        self.name = name
        self.build = build
        self._fields = sorted(fields, key=lambda item: (item.is_oneof, min(item.kinds)))
        self._writers = [(item.get, item.write) for item in self._fields]
        self._by_number = {number: (item, kind) for item in fields for number, kind in item.kinds.items()}

    def encode(self, value: T) -> bytes:
        out = bytearray()
        for get, write in self._writers:
            write(out, get(value))
        return bytes(out)

    def decode(self, data: bytes, *, skip_unknown: bool = False) -> T:
        try:
            return self._load(data, skip_unknown)
        except Corrupt as error:
            raise Corrupt(f"decode {self.name}: {error}") from None

    def _load(self, data: bytes, skip: bool) -> T:
        values: dict[str, Any] = {}
        for number, wire, raw in _items(data):
            if number in self._by_number:
                item, kind = self._by_number[number]
                try:
                    _take(values, item, _loaded(item, kind, wire, raw, skip))
                except Corrupt as error:
                    raise Corrupt(f"{item.name}: {error}") from None
            elif not skip:
                raise Corrupt(f"unknown field {number}")
        for item in self._fields:
            if item.name not in values:
                if item.required:
                    raise Corrupt(f"{item.name} is missing")
                values[item.name] = item.zero
            elif item.finish:
                values[item.name] = item.finish(values[item.name])
        return self.build(**values)


def single(name: str, inner: Field) -> Message[Any]:
    """A message with one field whose value stands for the whole message."""
    inner.get = lambda value: value
    return Message(name, lambda **values: values[inner.name], inner)


def _take(values: dict[str, Any], item: Field, loaded: Any) -> None:
    if item.finish:
        values.setdefault(item.name, []).extend(loaded)
    elif item.name in values:
        raise Corrupt("it is given twice")
    else:
        values[item.name] = loaded


def _loaded(item: Field, kind: Kind, wire: int, raw: int | bytes, skip: bool) -> Any:
    if item.finish and kind.wire == _VARINT and isinstance(raw, bytes):
        numbers, position = [], 0
        while position < len(raw):
            number, position = _read_varint(raw, position)
            numbers.append(kind.load(number, skip))
        return numbers
    if wire != kind.wire:
        raise Corrupt(f"wire type {wire} where {kind.wire} is due")
    value = kind.load(raw, skip)
    return (value,) if item.finish else value


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    for end in range(position, min(position + 10, len(data))):
        byte = data[end]
        number |= (byte & 127) << shift
        if byte < 128:
            if number > _MASK64:
                break
            return number, end + 1
        shift += 7
    raise Corrupt("a number is cut off or too long")


def _items(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and raw value of each field in turn."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise Corrupt(f"{number} is not a field number")
        if wire == _VARINT:
            value, position = _read_varint(data, position)
            yield number, wire, value
            continue
        if wire == _LENGTH:
            size, position = _read_varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise Corrupt(f"field {number}: {wire} is not a wire type")
        if size > end - position:
            raise Corrupt(f"field {number} is cut off")
        yield number, wire, data[position : position + size]
        position += size
