"""Whether zstd data ends where a frame ends (RFC 8878 §3.1): the library's reader takes half a frame for all there is.

Only the lengths of blocks are read, a few bytes of every 128 KiB; whether the data is right is the library's to say.
"""

from __future__ import annotations

from collections.abc import Callable

_DICTIONARY = (0, 1, 2, 4)
_CONTENT_SIZE = (0, 2, 4, 8)
_RLE = 1


class Frames:
    """Is fed all that the library is given, in order. `complete`: nothing is missing so far."""

    __slots__ = ("_checksum", "_next", "_part", "_skip", "_wanted")

    def __init__(self) -> None:
        self._part = b""
        self._skip = 0
        self._checksum = False
        self._wanted = 4
        self._next: Callable[[bytes], None] = self._magic

    @property
    def complete(self) -> bool:
        return not self._part and not self._skip and self._next == self._magic

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            taken = data[at : at + self._wanted - len(self._part)]
            at += len(taken)
            self._part += taken
            if len(self._part) == self._wanted:
                part, self._part = self._part, b""
                self._next(part)

    def _expect(self, size: int, what: Callable[[bytes], None]) -> None:
        self._wanted = size
        self._next = what

    def _magic(self, part: bytes) -> None:
        if part[1:] == b"\x2a\x4d\x18":  # a skippable frame
            self._expect(4, self._length)
        else:
            self._expect(1, self._descriptor)

    def _length(self, part: bytes) -> None:
        self._skip = int.from_bytes(part, "little")
        self._expect(4, self._magic)

    def _descriptor(self, part: bytes) -> None:
        flags = part[0]
        whole = bool(flags & 0x20)  # "single segment": the window is the content
        self._checksum = bool(flags & 0x04)
        content = _CONTENT_SIZE[flags >> 6] or int(whole)
        self._skip = (not whole) + _DICTIONARY[flags & 3] + content
        self._expect(3, self._block)

    def _block(self, part: bytes) -> None:
        header = int.from_bytes(part, "little")
        self._skip = 1 if header >> 1 & 3 == _RLE else header >> 3
        if header & 1:  # the last one
            self._skip += 4 * self._checksum
            self._expect(4, self._magic)
