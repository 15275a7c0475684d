"""One hard limit on what the store takes on disk: room is asked for before bytes are written, and made by evicting.

Law: `ledger` never says less than the disk does. It is what was measured last and all room that was given since, to any
process; when that reaches the limit the store is measured anew, and only then something has to go, the least used
first, never what a living build has pinned. What others write (steps, git, logs) is seen by the file system's free
space getting less (`watched`), the oftener the less room is left; while room is made for them they are halted. A limit
of 0 is none and costs nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import Unavailable
from trimaran.sizes import decimal_size
from trimaran.solver.protocols import Eviction
from trimaran.store.locks import guarded, locked_in_thread

if TYPE_CHECKING:
    from trimaran.store.gc import Collector
    from trimaran.store.pins import Pins
    from trimaran.store.usage import UsageRecord

CHUNK = 4 << 20
"""Room is taken from the ledger in pieces of at least so many bytes: also how far off the ledger is per process."""
_LOOK, _SHORTEST = 0.2, 0.004
"""Seconds between two looks at the file system while a build runs, at most and at least."""
_FASTEST = 4e9
"""Bytes per second that steps may write without getting past the limit between two looks."""
_MEASURE, _SHARE, _MASKED = 1.0, 20, 4e8
"""Others may free what a step takes, so many bytes per second: so the store is measured all the same, once a second at
least, and oftener where little room is left, but for a twentieth of the time at most."""
_TRIES = 3
_SHARES = 10
"""Logs of builds, and what is only remembered, may have this part of the limit each before they go for layers."""
_BLOCK = 4096


class Ceiling:
    """`limit` in bytes is set before the build begins; `ask` is for disk functions."""

    def __init__(self, root: str, collector: Callable[[], Collector], pins: Pins) -> None:
        self.limit = 0
        self.halted: Callable[[], AbstractContextManager[None]] = nullcontext
        """Holds still what writes without asking; what fails inside ends it."""
        self._pins = pins
        self._left = 0
        """Of the limit, when the ledger was last looked at."""
        self.give_way: Callable[[], int] = lambda: 0
        """Takes away what is only there to save time; bytes freed."""
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

    def ask(self, cancel: Cancel, size: int, what: str, *, spare: bool = False) -> None:
        """Room for `size` more bytes to `what` (`write blob`). Unavailable when running builds and images fill it.

        For what is `spare` itself nothing that is gives way. In the background nothing is taken that has to be made
        free first, and nobody is waited for who does that.
        """
        if not self.limit:
            return
        size += _BLOCK - 1
        size -= size % _BLOCK
        if aio.is_background_thread():
            self._ask_in_background(cancel, size, what)
            return
        with self._guard:
            if self._credit < size:
                more = max(size - self._credit, min(CHUNK, self.limit // 16))
                if not (self._measured and self._take(more)):
                    self._make_room(cancel, more, what, spare=spare)
                self._credit += more
                self._given += more
            self._credit -= size

    def _ask_in_background(self, cancel: Cancel, size: int, what: str) -> None:
        if self._guard.acquire(timeout=_MEASURE):
            try:
                if (self._measured or self._fits(cancel)) and self._take(size):
                    self._given += size
                    return
            finally:
                self._guard.release()
        raise Unavailable(f"{what}: the cache limit of {decimal_size(self.limit)} leaves no room to work ahead")

    def _take(self, size: int) -> bool:
        with guarded(self._lock, exclusive=True):
            used = self._read()
            if used is None or used + size > self.limit:
                return False
            self._write(used + size)
            self._left = self.limit - used - size
            return True

    def _make_room(self, cancel: Cancel, size: int, what: str, *, spare: bool = False) -> None:
        """One process at a time measures and evicts; whoever waited for it may find room made already."""
        with locked_in_thread(cancel, os.path.join(self._root, "locks", "eviction")):
            if size and self._measured and self._take(size):
                return
            collector = self._collector()
            others = self._others()
            patience = _TRIES
            while True:
                records = collector.usage(cancel)
                used = sum(record.size for record in records)
                if used + others + size <= self.limit:
                    break
                if self._evict(cancel, collector, self.limit - size - others) or (not spare and self.give_way()):
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
            self._left = self.limit - used - others - size

    def _evict(self, cancel: Cancel, collector: Collector, keep: int) -> int:
        """Bytes freed, 0 when nothing is left to go. A twentieth more than is needed goes, so that few writes evict.

        Logs of finished builds, and what is only remembered, go first where they are more than their share, and last
        where they are not.
        """
        from trimaran.store import build_logs
        from trimaran.store.prune import PruneOptions

        logs = os.path.join(self._root, "builds")
        options = PruneOptions(all=True, max_used=max(1, keep - self.limit // 20), whole=True)
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
        """After a build, also one that failed: see to it that the store fits; bytes freed.

        Where only the build itself stands in the way, its pins are dropped: it needs them no more.
        """
        if not self.limit:
            return 0
        with guarded(self._lock, exclusive=True):
            used = self._read()
        if used is not None and used <= self.limit and not self._wrote:
            return 0
        with locked_in_thread(cancel, os.path.join(self._root, "locks", "eviction")):
            collector = self._collector()
            before = used = sum(record.size for record in collector.usage(cancel))
            released = False
            while used > self.limit:
                if not self._evict(cancel, collector, self.limit):
                    if released:
                        break
                    self._pins.close()
                    released = True
                used = sum(record.size for record in collector.usage(cancel))
            with guarded(self._lock, exclusive=True):
                self._write(used)
        return max(0, before - used)

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
                self._wrote = self._given > 0 or self._pins.has_written or self._free() < before

    async def _watch(self) -> None:
        """Until cancelled. Unavailable when no room can be made for what was written."""
        free, given, measured, cost, pause = self._free(), self._given, time.monotonic(), 0.0, _SHORTEST
        while True:
            await asyncio.sleep(pause)
            now, asked, at = self._free(), self._given, time.monotonic()
            unknown = free - now - (asked - given)
            due = at - measured > max(cost, min(_MEASURE, self._left / _MASKED))
            if due or unknown >= min(CHUNK, self.limit // 16, max(_BLOCK, self._left)):
                await aio.in_thread(self._count, 0 if due else unknown)
                free, given, unknown = self._free(), self._given, 0
            elif unknown < 0:
                free, given, unknown = now, asked, 0
            if due:
                measured = time.monotonic()
                cost = _SHARE * (measured - at)
            pause = min(_LOOK, max(_SHORTEST, (self._left - unknown) / _FASTEST))

    def _count(self, cancel: Cancel, size: int) -> None:
        """`size` bytes that are written already; 0: measure."""
        with self._guard:
            if not size and self._fits(cancel):
                return
            if not (size and self._measured and self._take(size)):
                with self.halted():
                    self._make_room(cancel, 0, "run the build")

    def _fits(self, cancel: Cancel) -> bool:
        """Measured while everything goes on; the ledger then says what was found."""
        used = sum(record.size for record in self._collector().usage(cancel)) + self._others()
        if used > self.limit:
            return False
        with guarded(self._lock, exclusive=True):
            self._write(used)
        self._left = self.limit - used
        self._measured = True
        return True

    def _others(self) -> int:
        """Room that other builds may have been given and not used yet."""
        return CHUNK * max(0, len(os.listdir(os.path.join(self._root, "live"))) - 1)

    def _free(self) -> int:
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize
