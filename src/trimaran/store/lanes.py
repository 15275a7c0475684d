"""One thing after another, each in a thread of its own: what hashes, compresses and writes one stream side by side.

Law: order is kept, memory is bounded, and no thread outlives the lane. What is done in a lane may wait for a disk,
never for another lane.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from trimaran import aio

THREADS = max(2, min(os.cpu_count() or 2, 16))
"""That many blocks are compressed at a time."""
_WAITING = 4
"""Pieces (of about 1 MiB) that may wait in a lane."""

_BACK_THREADS = 2
_pool: ThreadPoolExecutor | None = None
_back_pool: ThreadPoolExecutor | None = None


def threads() -> ThreadPoolExecutor:
    """The one pool of all lanes and encoders of the process; two more than cores, for who waits for the disk.

    What is asked for by a thread in the background is done by a few others of low priority (`aio.in_background`).
    """
    global _pool, _back_pool  # noqa: PLW0603 - made on first use
    if aio.is_background_thread():
        if _back_pool is None:
            name = "lane-background"
            _back_pool = ThreadPoolExecutor(_BACK_THREADS, name, initializer=aio.become_background_thread)
        return _back_pool
    if _pool is None:
        _pool = ThreadPoolExecutor(THREADS + 2, thread_name_prefix="lane")
    return _pool


class Lane:
    """Gives each piece to `work`, in order, in another thread. What `work` raises comes out of `put` or at the end.

    A single piece is worked on by who brought it: most layers are small, and a thread costs more than they do.
    """

    __slots__ = ("_changed", "_count", "_error", "_pieces", "_running", "_work")

    def __init__(self, work: Callable[[bytes], object]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._running = False
        self._count = 0
        self._error: BaseException | None = None

    def put(self, piece: bytes) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._pieces) < _WAITING or self._error is not None)
            if self._error is not None:
                raise self._error
            self._pieces.append(piece)
            self._count += 1
            if self._running or self._count == 1:
                return
            self._running = True
        threads().submit(self._drain)

    def _drain(self) -> None:
        while True:
            with self._changed:
                if not self._pieces:
                    self._running = False
                    self._changed.notify_all()
                    return
                piece = self._pieces.popleft()
                self._changed.notify_all()
            try:
                self._work(piece)
            except BaseException as error:  # noqa: BLE001 - raised where the piece came from
                with self._changed:
                    self._error = error
                    self._pieces.clear()

    def finish(self) -> None:
        """Everything is worked on when this returns."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)
        while self._pieces and self._error is None:  # the only one there was
            self._work(self._pieces.popleft())
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish; after an error only wait for the piece that is being worked on."""
        if error is None:
            self.finish()
            return
        with self._changed:
            self._pieces.clear()
            self._changed.wait_for(lambda: not self._running)
