"""Sparse files of GNU tar: a map of where the stored bytes belong, all else is zeros (GNU tar manual).

Four forms: the old one of type `S`, with the map in the header and blocks after it, and PAX 0.0, 0.1 (in records) and
1.0 (before the data). As Go's archive/tar, which BuildKit reads by, takes them: a map that is not in order, overlaps,
leads past the end or says more or less than is stored is Corrupt. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from trimaran.errors import Corrupt, Unsupported
from trimaran.tar.header import BLOCK_SIZE, number

OLD = b"S"
RECORD = "GNU.sparse."
MAP = f"{RECORD}map"
PAIRS = frozenset({f"{RECORD}offset", f"{RECORD}numbytes"})
"""Records of 0.0 that come many times; joined by commas they are 0.1's map."""
_IN_HEADER, _IN_BLOCK = 4, 21
_PAIR = 24

Regions = list[tuple[int, int]]
"""Offset and size of what is stored, in order."""


class Sparse(msgspec.Struct, frozen=True):
    """A sparse file: its real size; its regions, None while they are yet to be read from before the data (1.0)."""

    size: int
    regions: Regions | None
    name: bytes = b""
    """What the file is called, "" when the header says so itself."""


def of_records(name: str, records: Mapping[str, bytes]) -> Sparse | None:
    """What the PAX records of a file say; None when they say nothing of the kind."""
    told = {key.removeprefix(RECORD): value for key, value in records.items() if key.startswith(RECORD)}
    if not told:
        return None
    version = (told.get("major"), told.get("minor"))
    real = told.get("size") or told.get("realsize")
    if version == (b"1", b"0") and real:
        return Sparse(_decimal(real), None, told.get("name", b""))
    if version in {(None, None), (b"0", b"0"), (b"0", b"1")} and real and "numblocks" in told:
        return Sparse(_decimal(real), _pairs(told.get("map", b""), _decimal(told["numblocks"])), told.get("name", b""))
    raise Unsupported(
        f"read archive: {name[:200]!r}: a sparse file of no known form", hint="write the archive without --sparse"
    )


def of_header(block: bytes, more: Callable[[], bytes], most: int) -> Sparse:
    """The old form; `more` gives the next block. Maps of more than `most` bytes are Corrupt."""
    if block[257:265] != b"ustar  \0":
        raise Corrupt("read archive: a sparse file's header is not GNU's")
    size = number(block[483:495], "size")
    regions: Regions = []
    goes_on = _take(regions, block[386:482], block[482])
    read = BLOCK_SIZE
    while goes_on:
        read += BLOCK_SIZE
        if read > most:
            raise _too_long()
        block = more()
        goes_on = _take(regions, block[: _IN_BLOCK * _PAIR], block[_IN_BLOCK * _PAIR])
    return Sparse(size, regions)


def _take(regions: Regions, fields: bytes, goes_on: int) -> bool:
    for at in range(0, len(fields), _PAIR):
        if not fields[at]:
            break
        regions.append((number(fields[at : at + 12], "offset"), number(fields[at + 12 : at + 24], "size")))
    return goes_on != 0


def before_data(more: Callable[[], bytes], most: int) -> tuple[Regions, int]:
    """The map of 1.0, and how many bytes of the entry it took: decimal numbers, a line each, in whole blocks."""
    text = bytearray()
    wanted = -1
    read = lines = 0
    while wanted < 0 or lines < wanted:
        if read + BLOCK_SIZE > most:
            raise _too_long()
        block = more()
        read += BLOCK_SIZE
        text += block
        lines += block.count(b"\n")
        if wanted < 0 and lines:
            wanted = 1 + 2 * _decimal(bytes(text[: text.index(b"\n")]))
    numbers = bytes(text).split(b"\n", wanted)[1:wanted]
    return _regions([_decimal(each) for each in numbers]), read


def _pairs(text: bytes, count: int) -> Regions:
    numbers = text.split(b",") if text else []
    if len(numbers) != 2 * count:
        raise Corrupt("read archive: a sparse file's map has not as many parts as it says")
    return _regions([_decimal(each) for each in numbers])


def _regions(numbers: list[int]) -> Regions:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise Corrupt(f"read archive: a sparse file's map has {text[:40]!r} where a number belongs")
    return int(text)


def _too_long() -> Corrupt:
    return Corrupt("read archive: a sparse file's map is longer than allowed")


def pieces(sparse: Sparse, regions: Regions, stored: int) -> list[int]:
    """The file from its end to its begin, to be popped: sizes of what is stored, and holes as negative ones.

    Corrupt when the map is not a map of `stored` bytes.
    """
    found: list[int] = []
    at = total = 0
    for offset, size in regions:
        if offset < at or offset + size > sparse.size:
            raise Corrupt("read archive: a sparse file's map overlaps, is in no order, or leads past the file's end")
        found += [at - offset] if offset > at else []
        found += [size] if size else []
        at = offset + size
        total += size
    if total != stored:
        raise Corrupt(f"read archive: a sparse file's map has {total} bytes, stored are {stored}")
    found += [at - sparse.size] if sparse.size > at else []
    return found[::-1]
