"""Reading compressed layers: what the bytes are decides, bombs are noticed (T37), nothing unbounded is held."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from trimaran.errors import Corrupt
from trimaran.store.holes import is_zeros
from trimaran.tar.reader import ZEROS

_MAX_XZ_MEMORY = 256 << 20  # xz -9 takes 65 MiB
_INPUT = 1 << 18


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """When compressed bytes are called a bomb (T37): the one place that says it.

    What takes room is bounded by the disk limit of whoever writes it, and by `size`. Beside that, more than `ratio`
    bytes for one are suspicious beyond `free`; gzip never gives as many (1:1032), zstd does of anything that repeats.
    Zeros alone may be more, up to `zeros`: sparse files are such, and no room is taken by them (`store/holes.py`).
    """

    size: int = 1 << 40
    ratio: int = 2000
    free: int = 4 << 30
    """Bytes of content up to which the ratio does not matter."""
    zeros: int = ZEROS
    """The same for all content, with pieces that are zeros."""

    def allow(self, taken: int, given: int, solid: int) -> bool:
        """Whether `taken` bytes may have become `given`, of which `solid` are not in pieces of zeros."""
        if given > self.size:
            return False
        most = self.ratio * taken
        return (solid <= self.free or solid <= most) and (given <= self.zeros or given <= most)


def decompress(
    read: Callable[[int], bytes], bounds: Bounds | None = None, *, layer: bool = True
) -> Callable[[int], bytes]:
    """A read function of the content. The bytes tell what they are: media types of layers are known to lie.

    Layers are compressed by gzip or zstd, other archives also by bzip2 or xz; anything else is given as it is. Corrupt
    for damaged or unfinished data, for what needs too much memory, and for bombs.
    """
    bounds = bounds or Bounds()
    source = _Counted(read)
    if source.peek(3) == b"\x1f\x8b\x08":
        inner = _gunzip(source)
    elif source.peek(4) == b"\x28\xb5\x2f\xfd" or _is_skippable(source.peek(4)):
        inner = _unzstd(source)
    elif not layer and _is_bzip2(source.peek(10)):
        inner = _members(source, "bzip2", _bzip2)
    elif not layer and source.peek(6) == b"\xfd7zXZ\x00":
        inner = _members(source, "xz", _xz)
    else:
        return source.read
    given = solid = 0

    def bounded(size: int) -> bytes:
        nonlocal given, solid
        data = inner(size)
        given += len(data)
        solid += 0 if is_zeros(data) else len(data)
        if not bounds.allow(source.count, given, solid):
            raise Corrupt(f"decompress: {source.count} bytes became {given}: this is a decompression bomb")
        return data

    return bounded


def _is_skippable(magic: bytes) -> bool:
    return len(magic) == 4 and magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50


def _is_bzip2(start: bytes) -> bool:
    """The magic with the first block's or, of nothing, the end's: a tar's first name may begin with "BZh", too."""
    return start[:3] == b"BZh" and start[4:] in {b"1AY&SY", b"\x17rE8P\x90"}


class _Counted:
    """A source with a look ahead, and a count of what was taken from it."""

    __slots__ = ("_ahead", "_read", "count")

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._ahead = b""
        self.count = 0

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size and (more := self._read(_INPUT)):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = _INPUT) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            data = self._read(size)
        self.count += len(data)
        return data


def _gunzip(source: _Counted) -> Callable[[int], bytes]:
    """Any number of members; zeros after the last are padding (as gzip(1) takes them), anything else is Corrupt."""
    library = _inflate_library()
    state: list[Any] = [library.decompressobj(31), b""]

    def read(size: int) -> bytes:
        while True:
            decoder, waiting = state
            if decoder.eof:
                rest = decoder.unused_data or waiting
                rest = rest.lstrip(b"\0") or source.read().lstrip(b"\0")
                while not rest:
                    more = source.read()
                    if not more:
                        return b""
                    rest = more.lstrip(b"\0")
                decoder, waiting = state[:] = library.decompressobj(31), rest
            if not waiting:
                waiting = source.read()
            try:
                data: bytes = decoder.decompress(waiting, size)
            except (zlib.error, library.error) as error:
                raise Corrupt(f"decompress gzip: {error}") from error
            state[1] = decoder.unconsumed_tail
            if data:
                return data
            if not waiting and not decoder.eof:
                raise Corrupt("decompress gzip: the data ends too early")

    return read


def _unzstd(source: _Counted) -> Callable[[int], bytes]:
    from trimaran.zstd import Decoder

    decoder = Decoder()
    pieces: Iterator[bytes] = iter(())
    waiting = memoryview(b"")

    def read(size: int) -> bytes:
        nonlocal pieces, waiting
        while not waiting:
            waiting = memoryview(next(pieces, b""))
            if not waiting:
                data = source.read()
                if not data:
                    decoder.finish()
                    return b""
                pieces = decoder.feed(data)
        taken, waiting = waiting[:size], waiting[size:]
        return bytes(taken)

    return read


def _bzip2() -> Any:
    from bz2 import BZ2Decompressor

    return BZ2Decompressor()


def _xz() -> Any:
    from lzma import FORMAT_XZ, LZMADecompressor

    return LZMADecompressor(FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)


def _members(source: _Counted, kind: str, new: Callable[[], Any]) -> Callable[[int], bytes]:
    """Any number of streams in a row, with zeros between them, as parallel compressors write them."""
    from lzma import LZMAError

    decoder = new()

    def read(size: int) -> bytes:
        nonlocal decoder
        while True:
            more = b""
            if decoder.eof:
                more = decoder.unused_data.lstrip(b"\0")
                while not more:
                    more = source.read()
                    if not more:
                        return b""
                    more = more.lstrip(b"\0")
                decoder = new()
            elif decoder.needs_input:
                more = source.read()
                if not more:
                    raise Corrupt(f"decompress {kind}: the data ends too early")
            try:
                data: bytes = decoder.decompress(more, size)
            except (OSError, LZMAError) as error:
                raise Corrupt(f"decompress {kind}: {error}") from error
            if data:
                return data

    return read


def _inflate_library() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib
    return isal_zlib
