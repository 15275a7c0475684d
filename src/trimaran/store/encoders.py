"""The encoders of layers: parallel, deterministic, bounded in memory for all layers of the process together.

Law: the bytes depend on the content and on the identity of the compression alone: not on the number of threads or on
how it was written. (ISA-L has other bytes on ARM than on x86-64, and at its level 3 others with AVX-512; zlib and zstd
have not: `Compression.portable`.) Whoever changes the bytes an encoder gives must change its identity.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol

from trimaran.aio import Cancel
from trimaran.store.compression import GZIP, ZSTD, Compression
from trimaran.store.lanes import THREADS, Lane, threads

BLOCK = 1 << 20
"""Bytes of content one thread compresses on its own: a constant, because it shows in the result."""

_SAMPLES, _SAMPLE = 4, 8 << 10
"""A block of which none of so many samples (bytes each) gets smaller is stored as it is: archives, pictures, keys."""
_STORED = 0xFFFF
"""Bytes in a stored block of deflate (RFC 1951, 3.2.4)."""

_ZSTD_JOB = 2 << 20
"""Bytes one of libzstd's threads compresses on its own (it takes more where a level's overlap is larger): it keeps
several jobs' input and output in memory, with its own choice of 8 MiB over 150 MiB of them."""

_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_DEFLATE_END = b"\x03\0"
"""A last, empty block: what comes before it ends at a byte border, by full flush."""


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
    with Lane(write) as output:
        encoder = _encoder(cancel, output.put, compression)
        try:
            yield encoder.write
            encoder.close()
        finally:
            encoder.abandon()


def _encoder(cancel: Cancel, write: Callable[[bytes], object], compression: Compression) -> Writer:
    if compression.kind == GZIP:
        return _GzipWriter(cancel, write, compression)
    if compression.kind == ZSTD:
        return _ZstdWriter(cancel, write, compression.encoder_level)
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

    def __init__(self, cancel: Cancel, write: Callable[[bytes], object], compression: Compression) -> None:
        self._cancel = cancel
        self._write = write
        self._deflate = _deflater(compression)
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


def _deflater(compression: Compression) -> Callable[[Sequence[memoryview]], bytes]:
    own = compression.encoder_level
    library: Any = zlib
    if own and compression.library == "isal":
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
        from trimaran.zstd import encoder

        self._cancel = cancel
        self._write = write
        while not _encoders.acquire(timeout=_TICK):
            cancel.check()
        self._held = True
        self._encoder = encoder(level, threads=THREADS, job_size=_ZSTD_JOB)

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
