"""Compressing layers: parallel, deterministic, bounded in memory.

Law: the bytes depend on the content, the kind and the level alone: not on the number of threads or on how it was
written. (ISA-L promises no equal bytes between processor families; diff ids, not blob digests, are compared there.)
Whoever changes the bytes an encoder gives must change its identity: stored blobs are found again by it.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from trimaran.aio import Cancel
from trimaran.errors import UsageError
from trimaran.oci import media_types
from trimaran.store.stages import THREADS, Stage, threads

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

    def abandon(self) -> None:
        """Let go of everything, written out or not; also after `close`."""
        ...


@contextmanager
def compressed(
    cancel: Cancel, write: Callable[[bytes], object], compression: Compression
) -> Iterator[Callable[[bytes], None]]:
    """A function to write to; its compressed bytes go to `write`, in order, in another thread.

    Everything is written out when the block ends without an error; nothing goes on when it ends with one.
    """
    with Stage(write) as output:
        encoder = _encoder(cancel, output.put, compression)
        try:
            yield encoder.write
            encoder.close()
        finally:
            encoder.abandon()


def _encoder(cancel: Cancel, write: Callable[[bytes], object], compression: Compression) -> Writer:
    if compression.kind == GZIP:
        return _GzipWriter(cancel, write, compression.level)
    if compression.kind == ZSTD:
        return _ZstdWriter(cancel, write, 3 if compression.level is None else compression.level)
    return _PlainWriter(cancel, write)


_blocks = threading.BoundedSemaphore(4 * THREADS)
"""Blocks in memory, of all layers that are compressed at the same time."""
_encoders = threading.BoundedSemaphore(2)
"""Encoders of zstd, which keep their own blocks in memory, at the same time."""
_TICK = 0.1


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

    def abandon(self) -> None:
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
        self._waiting: list[memoryview] = []
        self._waits = 0
        self._running: deque[Future[bytes]] = deque()
        write(_GZIP_HEAD)

    def write(self, data: bytes) -> None:
        self._cancel.check()
        self._crc = _crc32(data, self._crc)
        self._size += len(data)
        rest = memoryview(data)
        while self._waits + len(rest) >= BLOCK:
            cut = BLOCK - self._waits
            self._waiting.append(rest[:cut])
            rest = rest[cut:]
            self._start()
        if rest:
            self._waiting.append(rest)
            self._waits += len(rest)

    def _start(self) -> None:
        """Compress what waits, and write out what that has been done with when there is much of it."""
        if len(self._running) >= 2 * THREADS:
            self._take()
        while not _blocks.acquire(blocking=False):
            self._cancel.check()
            if self._running:
                self._take()
            elif _blocks.acquire(timeout=_TICK):
                break
        block, self._waiting, self._waits = self._waiting, [], 0
        try:
            self._running.append(threads().submit(self._deflate, block))
        except BaseException:
            _blocks.release()
            raise

    def _take(self) -> None:
        try:
            self._write(self._running[0].result())
        finally:
            self._running.popleft()
            _blocks.release()

    def close(self) -> None:
        if self._waiting and not self._running:
            self._write(self._deflate(self._waiting))
        elif self._waiting:
            self._start()
        while self._running:
            self._cancel.check()
            self._take()
        tail = self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        self._write(_DEFLATE_END + tail)

    def abandon(self) -> None:
        while self._running:
            self._running.popleft().cancel()
            _blocks.release()


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


def _deflater(level: int | None) -> Callable[[Sequence[memoryview]], bytes]:
    own = _deflate_level(level)
    library: Any = zlib
    if own and _deflate_library() == "isal":
        from isal import isal_zlib

        library = isal_zlib

    def deflate(parts: Sequence[memoryview]) -> bytes:
        block = b"".join(parts)
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

    __slots__ = ("_cancel", "_encoder", "_held", "_write")

    def __init__(self, cancel: Cancel, write: Callable[[bytes], object], level: int) -> None:
        from zstandard import ZstdCompressionParameters, ZstdCompressor

        self._cancel = cancel
        self._write = write
        while not _encoders.acquire(timeout=_TICK):
            cancel.check()
        self._held = True
        parameters = ZstdCompressionParameters.from_level(
            level, threads=THREADS, job_size=_ZSTD_JOB, write_checksum=True
        )
        self._encoder = ZstdCompressor(compression_params=parameters).compressobj()

    def write(self, data: bytes) -> None:
        self._cancel.check()
        if piece := self._encoder.compress(data):
            self._write(piece)

    def close(self) -> None:
        if piece := self._encoder.flush():
            self._write(piece)

    def abandon(self) -> None:
        if self._held:
            self._held = False
            del self._encoder
            _encoders.release()
