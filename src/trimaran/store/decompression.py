"""Reading compressed layers: what the bytes are decides, bombs are noticed (T37), nothing unbounded is held."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import msgspec

from trimaran.errors import Corrupt

_MAX_WINDOW = 1 << 27
_INPUT = 1 << 18


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """When compressed bytes are called a bomb (T37). Zeros compress 1:1030 by gzip: a large sparse file is no bomb."""

    size: int = 1 << 40
    ratio: int = 2000
    free: int = 4 << 30
    """Bytes of content up to which the ratio does not matter."""


def decompress(read: Callable[[int], bytes], bounds: Bounds | None = None) -> Callable[[int], bytes]:
    """A read function of the content. The bytes tell what they are: media types of layers are known to lie.

    What is neither gzip nor zstd is given as it is. Corrupt for damaged or unfinished data, and for bombs.
    """
    bounds = bounds or Bounds()
    source = _Counted(read)
    if source.peek(3) == b"\x1f\x8b\x08":
        inner = _gunzip(source)
    elif source.peek(4) == b"\x28\xb5\x2f\xfd" or _is_skippable(source.peek(4)):
        inner = _unzstd(source)
    else:
        return source.read
    given = 0

    def bounded(size: int) -> bytes:
        nonlocal given
        data = inner(size)
        given += len(data)
        if given > bounds.size or (given > bounds.free and given > bounds.ratio * source.count):
            raise Corrupt(f"decompress: {source.count} bytes became {given}: this is a decompression bomb")
        return data

    return bounded


def _is_skippable(magic: bytes) -> bool:
    return len(magic) == 4 and magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50


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
    from zstandard import ZstdDecompressor, ZstdError

    stream: Any = source  # all it asks of a stream is read
    reader = ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(stream, read_across_frames=True)

    def read(size: int) -> bytes:
        try:
            return reader.read(size)
        except ZstdError as error:
            raise Corrupt(f"decompress zstd: {error}") from error

    return read


def _inflate_library() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib
    return isal_zlib
