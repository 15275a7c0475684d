"""zstd (RFC 8878) by the package `zstandard`, else by Python's own library, which 3.14 has. Loaded where zstd is met.

Law: `encoder_name` tells all that decides an encoder's bytes but for the level. Python's library may be any libzstd,
with threads or without, so that what it makes is never taken for what the package makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

from trimaran.errors import Corrupt, Unsupported

_WINDOW = 27  # log2 of the most bytes a frame may make a decoder keep
_FED = 2 << 10
"""Bytes decoded at once: nothing else bounds what they become, which is up to 128 KiB for four of them."""
_GIVEN = 1 << 18
"""Bytes of content that are worth a piece."""


class Encoder(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def require() -> None:
    """Unsupported where nothing can read or write zstd."""
    _package() or _standard()


def encoder_name() -> str:
    """The version of libzstd, and whose it is when it is not the package's; Unsupported where there is none."""
    package = _package()
    if package is not None:
        return ".".join(map(str, package.ZSTD_VERSION))
    standard = _standard()
    return f"python-{standard.zstd_version}" + ("" if _has_threads(standard) else "-single")


def encoder(level: int, *, threads: int, job_size: int) -> Encoder:
    """Makes one frame with a checksum; its bytes do not depend on `threads` (zstd manual, nbWorkers)."""
    package = _package()
    if package is not None:
        parameters = package.ZstdCompressionParameters.from_level(
            level, threads=threads, job_size=job_size, write_checksum=True
        )
        made: Encoder = package.ZstdCompressor(compression_params=parameters).compressobj()
        return made
    standard = _standard()
    names = standard.CompressionParameter
    options = {names.compression_level: level, names.checksum_flag: 1}
    if _has_threads(standard):
        options |= {names.nb_workers: threads, names.job_size: job_size}
    own: Encoder = standard.ZstdCompressor(options=options)
    return own


class Decoder:
    """Reads any number of frames in a row; a window over 128 MiB, and any damage, is Corrupt."""

    def __init__(self) -> None:
        self._library = _package() or _standard()
        self._frame: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content of the next bytes, in pieces of at most 64 MiB."""
        waiting: list[bytes] = []
        size = 0
        try:
            for piece in self._decoded(data):
                waiting.append(piece)
                size += len(piece)
                if size >= _GIVEN:
                    yield b"".join(waiting)
                    waiting, size = [], 0
        except self._library.ZstdError as error:
            raise Corrupt(f"decompress zstd: {error}") from error
        if size:
            yield b"".join(waiting)

    def finish(self) -> None:
        """There are no more bytes: Corrupt in the middle of a frame."""
        if self._frame is not None:
            raise Corrupt("decompress zstd: the data ends too early")

    def _decoded(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _FED):
            piece = data[start : start + _FED]
            while piece:
                if self._frame is None:
                    self._frame = _new_frame(self._library)
                yield self._frame.decompress(piece)
                piece = b""
                if self._frame.eof:
                    piece, self._frame = self._frame.unused_data, None


def _new_frame(library: Any) -> Any:
    if hasattr(library, "DecompressionParameter"):
        return library.ZstdDecompressor(options={library.DecompressionParameter.window_log_max: _WINDOW})
    return library.ZstdDecompressor(max_window_size=1 << _WINDOW).decompressobj()


def _package() -> Any:
    """None where it is not installed, or cannot be loaded (made for another C library)."""
    try:
        return import_module("zstandard")
    except ImportError:
        return None


def _standard() -> Any:
    try:
        return import_module("compression.zstd")
    except ImportError:
        raise Unsupported(
            "use zstd: neither the package zstandard nor a Python with zstd is here",
            hint="install trimaran[fast] or zstandard in its environment, take Python 3.14, or use gzip",
        ) from None


def _has_threads(library: Any) -> bool:
    most: int = library.CompressionParameter.nb_workers.bounds()[1]
    return most > 0
