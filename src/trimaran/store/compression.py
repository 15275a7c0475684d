"""Compressing and reading compressed layers: parallel, deterministic, bounded in memory.

Law: the bytes depend on the content, the kind and the level alone: not on the number of threads or on how it was
written. (ISA-L promises no equal bytes between processor families; diff ids, not blob digests, are compared there.)
Whoever changes the bytes an encoder gives must change its identity: stored blobs are found again by it.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from trimaran.aio import Cancel
from trimaran.errors import Corrupt, UsageError
from trimaran.oci import media_types

GZIP = "gzip"
ZSTD = "zstd"
UNCOMPRESSED = "uncompressed"

BLOCK = 1 << 20
"""Bytes of content one thread compresses on its own: a constant, because it shows in the result."""

_SAMPLES, _SAMPLE = 4, 8 << 10
"""A block of which none of so many samples (bytes each) gets smaller is stored as it is: archives, pictures, keys."""
_STORED = 0xFFFF
"""Bytes in a stored block of deflate (RFC 1951, 3.2.4)."""

_OCI = {UNCOMPRESSED: media_types.OCI_LAYER, GZIP: media_types.OCI_LAYER_GZIP, ZSTD: media_types.OCI_LAYER_ZSTD}
_DOCKER = {
    UNCOMPRESSED: media_types.DOCKER_LAYER,
    GZIP: media_types.DOCKER_LAYER_GZIP,
    ZSTD: media_types.DOCKER_LAYER_ZSTD,
}
_LEVELS = {UNCOMPRESSED: (0, 0), GZIP: (0, 9), ZSTD: (1, 22)}

_ZSTD_JOB = 2 << 20
"""Bytes one of libzstd's threads compresses on its own (it takes more where a level's overlap is larger): it keeps
several jobs' input and output in memory, with its own choice of 8 MiB over 150 MiB of them."""

_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_DEFLATE_END = b"\x03\0"
"""A last, empty block: what comes before it ends at a byte border, by full flush."""
_MAX_WINDOW = 1 << 27
_INPUT = 1 << 18


class Compression(msgspec.Struct, frozen=True):
    """How a layer's tar becomes a blob. `level` None is the kind's default; gzip 0 stores, 1 to 9; zstd 1 to 22."""

    kind: str = GZIP
    level: int | None = None

    @classmethod
    def parse(cls, kind: str, level: int | None = None) -> Compression:
        """UsageError for an unknown kind or a level it does not have."""
        if kind not in _LEVELS:
            known = f"{UNCOMPRESSED}, {GZIP}, {ZSTD}"
            raise UsageError(f"parse compression {kind!r}: unknown", hint=f"known are {known}")
        low, high = _LEVELS[kind]
        if level is not None and not low <= level <= high:
            raise UsageError(f"parse compression level {level}: {kind} has levels {low} to {high}")
        return cls(kind, level)

    def media_type(self, *, docker: bool = False) -> str:
        return (_DOCKER if docker else _OCI)[self.kind]

    @property
    def identity(self) -> str:
        """Names the encoder and all that decides its bytes; equal identity and content: equal blob."""
        if self.kind == GZIP:
            return f"gzip-{_deflate_library()}-2/{_deflate_level(self.level)}"
        if self.kind == ZSTD:
            from zstandard import ZSTD_VERSION

            return f"zstd-{'.'.join(map(str, ZSTD_VERSION))}-2/{3 if self.level is None else self.level}"
        return UNCOMPRESSED


def kind_of(media_type: str) -> str:
    """The kind a layer's media type promises; UNCOMPRESSED for anything unknown (the bytes decide in the end)."""
    if media_type.endswith(("+gzip", ".gzip")):
        return GZIP
    if media_type.endswith(("+zstd", ".zstd")):
        return ZSTD
    return UNCOMPRESSED


class Writer(Protocol):
    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """Everything is written out when this returns."""
        ...


def compress(cancel: Cancel, write: Callable[[bytes], object], compression: Compression) -> Writer:
    """A writer that gives its compressed bytes to `write`, in order, in the thread that calls it."""
    if compression.kind == GZIP:
        return _GzipWriter(cancel, write, compression.level)
    if compression.kind == ZSTD:
        return _ZstdWriter(cancel, write, 3 if compression.level is None else compression.level)
    return _PlainWriter(cancel, write)


_pool: ThreadPoolExecutor | None = None
_THREADS = max(2, min(os.cpu_count() or 2, 16))


def _threads() -> ThreadPoolExecutor:
    global _pool  # noqa: PLW0603 - one pool for all compression of the process
    if _pool is None:
        _pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="compress")
    return _pool


class _PlainWriter:
    __slots__ = ("_cancel", "_write")

    def __init__(self, cancel: Cancel, write: Callable[[bytes], object]) -> None:
        self._cancel = cancel
        self._write = write

    def write(self, data: bytes) -> None:
        self._cancel.check()
        self._write(data)

    def close(self) -> None:
        return


class _GzipWriter:
    """One gzip member of blocks that were compressed apart, each ended by a full flush (RFC 1951, 1952)."""

    __slots__ = ("_cancel", "_crc", "_deflate", "_running", "_size", "_waiting", "_waits", "_write")

    def __init__(self, cancel: Cancel, write: Callable[[bytes], object], level: int | None) -> None:
        self._cancel = cancel
        self._write = write
        self._deflate = _deflater(level)
        self._crc = 0
        self._size = 0
        self._waiting: list[bytes] = []
        self._waits = 0
        self._running: deque[Future[bytes]] = deque()
        write(_GZIP_HEAD)

    def write(self, data: bytes) -> None:
        self._cancel.check()
        self._crc = _crc32(data, self._crc)
        self._size += len(data)
        self._waiting.append(data)
        self._waits += len(data)
        if self._waits < BLOCK:
            return
        whole = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        for start in range(0, self._waits - BLOCK + 1, BLOCK):
            self._start(whole if self._waits == BLOCK else whole[start : start + BLOCK])
        rest = whole[self._waits - self._waits % BLOCK :]
        self._waiting = [rest] if rest else []
        self._waits = len(rest)

    def _start(self, block: bytes) -> None:
        if len(self._running) >= 2 * _THREADS:
            self._write(self._running.popleft().result())
        self._running.append(_threads().submit(self._deflate, block))

    def close(self) -> None:
        if self._waiting:
            self._start(b"".join(self._waiting))
            self._waiting.clear()
        while self._running:
            self._cancel.check()
            self._write(self._running.popleft().result())
        tail = self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        self._write(_DEFLATE_END + tail)


def _deflate_library() -> str:
    try:
        import isal.isal_zlib  # noqa: F401 - whether it is there
    except ImportError:
        return "zlib"
    return "isal"


def _deflate_level(level: int | None) -> int:
    """The library's own level: ISA-L has three, and its default serves for ours."""
    if level == 0:
        return 0
    if _deflate_library() == "isal":
        return 2 if level is None else 1 + (level - 1) // 3
    return 6 if level is None else level


def _deflater(level: int | None) -> Callable[[bytes], bytes]:
    own = _deflate_level(level)
    library: Any = zlib
    if own and _deflate_library() == "isal":
        from isal import isal_zlib

        library = isal_zlib

    def deflate(block: bytes) -> bytes:
        if own and _is_dense(block, library, own):
            return _stored(block)
        encoder = library.compressobj(own, zlib.DEFLATED, -15)
        result: bytes = encoder.compress(block) + encoder.flush(zlib.Z_FULL_FLUSH)
        return result

    return deflate


def _is_dense(block: bytes, library: Any, level: int) -> bool:
    """Whether compressing would be in vain, told by samples from all over the block."""
    step = len(block) // _SAMPLES
    if step < 2 * _SAMPLE:
        return False
    pieces = (block[at : at + _SAMPLE] for at in range(0, step * _SAMPLES, step))
    return all(len(library.compress(piece, level, -15)) >= _SAMPLE for piece in pieces)


def _stored(block: bytes) -> bytes:
    parts: list[bytes] = []
    for start in range(0, len(block), _STORED):
        piece = block[start : start + _STORED]
        size = len(piece)
        parts += (b"\0", size.to_bytes(2, "little"), (size ^ 0xFFFF).to_bytes(2, "little"), piece)
    return b"".join(parts)


def _crc32(data: bytes, value: int) -> int:
    try:
        from isal.isal_zlib import crc32
    except ImportError:
        from zlib import crc32
    return crc32(data, value)


class _ZstdWriter:
    """libzstd's own threads: its result is the same for any number of them from one on (zstd manual, nbWorkers)."""

    __slots__ = ("_cancel", "_encoder", "_write")

    def __init__(self, cancel: Cancel, write: Callable[[bytes], object], level: int) -> None:
        from zstandard import ZstdCompressionParameters, ZstdCompressor

        self._cancel = cancel
        self._write = write
        parameters = ZstdCompressionParameters.from_level(
            level, threads=_THREADS, job_size=_ZSTD_JOB, write_checksum=True
        )
        self._encoder = ZstdCompressor(compression_params=parameters).compressobj()

    def write(self, data: bytes) -> None:
        self._cancel.check()
        if piece := self._encoder.compress(data):
            self._write(piece)

    def close(self) -> None:
        if piece := self._encoder.flush():
            self._write(piece)


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
    library: Any = zlib
    if _deflate_library() == "isal":
        from isal import isal_zlib

        library = isal_zlib
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
