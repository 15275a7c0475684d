"""Zeros take no room: where they are many, a file gets a hole, and nobody asks for room for them (T37)."""

from __future__ import annotations

import os
from collections.abc import Callable

_BLOCK = 1 << 16
_LEAST = 1 << 12
"""Bytes that are worth a hole: no file system has smaller blocks that are worth anything."""
_ZEROS = bytes(_BLOCK)


def is_zeros(data: bytes | memoryview) -> bool:
    """Whether all of it is; nearly nothing where it is not, as it begins or ends otherwise."""
    if not data or data[0] or data[-1]:
        return False
    view = memoryview(data)
    for at in range(0, len(view), _BLOCK):
        block = view[at : at + _BLOCK].tobytes()
        if block != (_ZEROS if len(block) == _BLOCK else bytes(len(block))):
            return False
    return True


class WithHoles:
    """Writes an empty file from its begin to its end; `finish` must come last."""

    __slots__ = ("_fd", "_hole")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hole = False

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        start = 0
        for at in range(0, len(view), _BLOCK):
            block = view[at : at + _BLOCK]
            if len(block) >= _LEAST and is_zeros(block):
                self._put(view[start:at])
                os.lseek(self._fd, len(block), os.SEEK_CUR)
                self._hole = True
                start = at + len(block)
        self._put(view[start:])

    def _put(self, view: memoryview) -> None:
        while view:
            view = view[os.write(self._fd, view) :]
            self._hole = False

    def finish(self) -> None:
        """A hole at the end is none yet: nothing was written behind it."""
        if self._hole:
            os.ftruncate(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR))


def with_room(read: Callable[[int], bytes], ask: Callable[[int], None]) -> Callable[[int], bytes]:
    """`read`, where room is asked for before what was read is written `WithHoles`."""

    def reading(size: int) -> bytes:
        data = read(size)
        if len(data) < _BLOCK or not is_zeros(data):
            ask(len(data))
        return data

    return reading
