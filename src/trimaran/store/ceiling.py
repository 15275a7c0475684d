"""One hard limit on what the store takes on disk: room is asked for before bytes are written, and made by evicting.

Law: `ledger` never says less than the disk does. It is what was measured last and all room that was given since, to any
process; when that reaches the limit the store is measured anew, and only then something has to go, the least used
first, never what a living build has pinned. What others write (steps, git, logs) is seen by the file system's free
space getting less (`watched`). A limit of 0 is none and costs nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import Unavailable
from trimaran.sizes import decimal_size
from trimaran.solver.protocols import Eviction
from trimaran.store.locks import guarded, locked_in_thread

if TYPE_CHECKING:
    from trimaran.store.gc import Collector
    from trimaran.store.usage import UsageRecord

CHUNK = 4 << 20
"""Room is taken from the ledger in pieces of at least so many bytes: also how far off the ledger is per process."""
_LOOK = 0.2
"""Seconds between two looks at the file system while a build runs."""
_MEASURE, _SHARE = 1.0, 20
"""Others may free what a step takes: so the store is measured all the same, for a twentieth of the time at most."""
_TRIES = 3
_SHARES = 10
"""Logs of builds, and what is only remembered, may have this part of the limit each before they go for layers."""
_BLOCK = 4096


class Ceiling:
    """`limit` in bytes is set before the build begins; `ask` is for disk functions."""

    def __init__(self, root: str, collector: Callable[[], Collector]) -> None:
        self.limit = 0
        self._root = root
        self._path = os.path.join(root, "ledger")
        self._lock = os.path.join(root, "ledger.lock")
        self._collector = collector
        self._guard = threading.Lock()
        self._credit = 0
        self._given = 0
        self._measured = False
        self._wrote = False
        """A build of this process may have written what nobody counted: a step between the last look and its end."""

    def covers(self, size: int) -> bool:
        """Whether `ask` would return at once."""
        return not self.limit or self._credit >= size

    def ask(self, cancel: Cancel, size: int, what: str) -> None:
        """Room for `size` more bytes to `what` (`write blob`). Unavailable when running builds and images fill it."""
        if not self.limit:
            return
        size += _BLOCK - 1
        size -= size % _BLOCK
        with self._guard:
            if self._credit < size:
                more = max(size - self._credit, min(CHUNK, self.limit // 16))
                if not (self._measured and self._take(more)):
                    self._make_room(cancel, more, what)
                self._credit += more
                self._given += more
            self._credit -= size

    def _take(self, size: int) -> bool:
        with guarded(self._lock, exclusive=True):
            used = self._read()
            if used is None or used + size > self.limit:
                return False
            self._write(used + size)
            return True

    def _make_room(self, cancel: Cancel, size: int, what: str) -> None:
        """One process at a time measures and evicts; whoever waited for it may find room made already."""
        with locked_in_thread(cancel, os.path.join(self._root, "locks", "eviction")):
            if size and self._measured and self._take(size):
                return
            collector = self._collector()
            others = CHUNK * max(0, len(os.listdir(os.path.join(self._root, "live"))) - 1)
            patience = _TRIES
            while True:
                records = collector.usage(cancel)
                used = sum(record.size for record in records)
                if used + others + size <= self.limit:
                    break
                if self._evict(cancel, collector, self.limit - size - others):
                    continue
                if used + size <= self.limit:
                    break
                if not patience:
                    raise self._full(what, records)
                patience -= 1
                time.sleep(_LOOK)  # files being written take more blocks at first than they keep
            with guarded(self._lock, exclusive=True):
                self._write(used + others + size)
            self._measured = True

    def _evict(self, cancel: Cancel, collector: Collector, keep: int) -> int:
        """Bytes freed, 0 when nothing is left to go. A twentieth more than is needed goes, so that few writes evict.

        Logs of finished builds, and what is only remembered, go first where they are more than their share, and last
        where they are not.
        """
        from trimaran.store import build_logs
        from trimaran.store.prune import PruneOptions

        logs = os.path.join(self._root, "builds")
        options = PruneOptions(all=True, max_used=max(1, keep - self.limit // 20))
        why = Eviction(cause="limit", limit=self.limit)
        return (
            build_logs.trim(cancel, logs, self.limit // _SHARES)
            or collector.forget(why, over=self.limit // _SHARES)
            or sum(record.size for record in collector.prune(cancel, options, why))
            or build_logs.trim(cancel, logs, 0)
        )

    def _full(self, what: str, records: Sequence[UsageRecord]) -> Unavailable:
        held = decimal_size(sum(record.size - record.kept for record in records if record.in_use))
        named = decimal_size(sum(record.kept for record in records))
        return Unavailable(
            f"{what}: the cache limit of {decimal_size(self.limit)} is reached:"
            f" running builds and the store itself hold {held}, named images {named}",
            hint="raise --cache-limit (or cache-limit in the settings), or remove images by `trimaran rmi`;"
            " `trimaran du` shows what takes the room",
        )

    def _read(self) -> int | None:
        try:
            with open(self._path, encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None

    def _write(self, used: int) -> None:
        with suppress(OSError):  # without it the store is measured
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(fd, "w", encoding="ascii") as file:
                file.write(str(used))

    def settle(self, cancel: Cancel) -> int:
        """After a build, or before one that may write nothing: see to it that the store fits; bytes freed."""
        if not self.limit:
            return 0
        with guarded(self._lock, exclusive=True):
            used = self._read()
        if used is not None and used <= self.limit and not self._wrote:
            return 0
        with locked_in_thread(cancel, os.path.join(self._root, "locks", "eviction")):
            collector = self._collector()
            used = sum(record.size for record in collector.usage(cancel))
            freed = 0
            while used - freed > self.limit and (more := self._evict(cancel, collector, self.limit)):
                freed += more
            with guarded(self._lock, exclusive=True):
                self._write(used - freed)
        return freed

    def disown(self) -> None:
        """This process writes without counting: whoever has a limit measures anew."""
        with suppress(OSError):
            os.unlink(self._path)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While this lasts, what steps, git and logs write is counted too; what is too much ends the body."""
        if not self.limit:
            yield
            return
        before = self._free()
        async with aio.TaskGroup() as group:
            watcher = group.start(self._watch())
            try:
                yield
            finally:
                watcher.cancel()
                self._wrote = self._given > 0 or self._free() < before

    async def _watch(self) -> None:
        """Until cancelled. Unavailable when no room can be made for what was written."""
        free, given, measured, pause = self._free(), self._given, time.monotonic(), _MEASURE
        while True:
            await asyncio.sleep(_LOOK)
            now, asked, at = self._free(), self._given, time.monotonic()
            unknown = free - now - (asked - given)
            due = at - measured > pause
            if due or unknown >= min(CHUNK, self.limit // 16):
                await aio.in_thread(self._count, 0 if due else unknown)
                free, given = self._free(), self._given
            elif unknown < 0:
                free, given = now, asked
            if due:
                measured = time.monotonic()
                pause = max(_MEASURE, _SHARE * (measured - at))

    def _count(self, cancel: Cancel, size: int) -> None:
        """`size` bytes that are written already; 0: measure."""
        with self._guard:
            if not (size and self._measured and self._take(size)):
                self._make_room(cancel, 0, "run the build")

    def _free(self) -> int:
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize
