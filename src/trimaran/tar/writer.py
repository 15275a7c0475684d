"""Writes an archive as a stream of large pieces: headers, data, padding, end."""

from __future__ import annotations

from collections.abc import Callable

from trimaran.tar.header import BLOCK_SIZE, Header, encode, padding

PIECE = 1 << 20
"""Bytes gathered before they are handed on: hashing and compressing many small pieces costs more than joining them."""

END = bytes(2 * BLOCK_SIZE)


class Writer:
    """`add` an entry, `write` exactly its size of data, …, `close`. `write_out` gets pieces of about PIECE bytes."""

    __slots__ = ("_left", "_parts", "_size", "_waiting", "_write_out", "offset")

    def __init__(self, write_out: Callable[[bytes], object]) -> None:
        self._write_out = write_out
        self._parts: list[bytes] = []
        self._waiting = 0
        self._left = 0
        self._size = 0
        self.offset = 0
        """Bytes of the archive so far."""

    def add(self, header: Header) -> None:
        self.add_encoded(encode(header), header.size)

    def add_encoded(self, block: bytes, size: int) -> None:
        """A header as `encode_fields` gave it, with the size of the data that will follow."""
        if self._left:
            raise ValueError(f"{self._left} bytes of the entry before are missing")
        self._left = self._size = size
        self._put(block)

    def write(self, data: bytes) -> None:
        if len(data) > self._left:
            raise ValueError(f"{len(data) - self._left} bytes too many for this entry")
        self._left -= len(data)
        self._put(data)
        if not self._left and self._size % BLOCK_SIZE:
            self._put(padding(self._size))

    def close(self) -> None:
        """End the archive; nothing is written out twice."""
        if self._left:
            raise ValueError(f"{self._left} bytes of the last entry are missing")
        self._put(END)
        self.flush()

    def flush(self) -> None:
        if self._parts:
            piece = b"".join(self._parts)
            self._parts.clear()
            self._waiting = 0
            self._write_out(piece)

    def _put(self, data: bytes) -> None:
        self._parts.append(data)
        self.offset += len(data)
        self._waiting += len(data)
        if self._waiting >= PIECE:
            self.flush()
