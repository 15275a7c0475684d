"""Blobs that save time and are needed by nobody yet: made ahead, they give way to whatever a build cannot do without.

Law: what is spare is never the only place of anything, so it may go at any moment. Who needs such a blob says so first
(`need`), and is told when it was gone by then; who works on one is told at its next piece. Another build, and an image
that it leaves, may come to stand on one: it goes as the garbage collector has things go, and these keep it. For any
thread.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from trimaran.digest import Digest
from trimaran.store.database import Database
from trimaran.store.pins import Pins


class Writing(Protocol):
    """A spare blob in the making."""

    def give_up(self) -> int:
        """Free what was written, and fail at the next piece. Bytes."""
        ...


class Spare:
    """`collect` is what a garbage collector holds; `remove` takes a blob's file away, and tells the bytes freed."""

    def __init__(
        self,
        database: Database,
        pins: Pins,
        collect: Callable[[], AbstractContextManager[None]],
        remove: Callable[[Digest], int],
    ) -> None:
        self._database = database
        self._pins = pins
        self._collect = collect
        self._remove = remove
        self._guard = threading.RLock()
        self._offered: set[Digest] = set()
        self._needed: set[Digest] = set()
        self._gone: set[Digest] = set()
        self._writing: set[Writing] = set()

    def offer(self, digest: Digest) -> None:
        """A blob that was made ahead, unless somebody needs it already."""
        with self._guard:
            if digest not in self._needed:
                self._offered.add(digest)

    def need(self, digest: Digest) -> bool:
        """From now on it stays. False: it has just given way, and is to be made again."""
        with self._guard:
            self._needed.add(digest)
            self._offered.discard(digest)
            if digest in self._gone:
                self._gone.discard(digest)
                return False
            return True

    def keep(self, digests: Iterable[Digest]) -> None:
        """Those that are still there are needed from now on."""
        with self._guard:
            for digest in digests:
                self._needed.add(digest)
                self._offered.discard(digest)

    def begin(self, writing: Writing) -> None:
        with self._guard:
            self._writing.add(writing)

    def end(self, writing: Writing) -> None:
        with self._guard:
            self._writing.discard(writing)

    def give_way(self) -> int:
        """Let all of it go; bytes freed. 0 when there was nothing."""
        with self._guard:
            freed = sum(writing.give_up() for writing in self._writing)
            self._writing.clear()
            if self._offered:
                freed += self._let_go(tuple(self._offered))
            self._gone |= self._offered  # also what stays for others: who needs it looks once more
            self._offered.clear()
            return freed

    def _let_go(self, digests: tuple[Digest, ...]) -> int:
        def condemn(connection: sqlite3.Connection) -> None:
            connection.executemany("UPDATE blobs SET condemned=1 WHERE digest=?", [(each,) for each in digests])

        with self._collect():
            self._database.write_now(condemn)
            held = self._pins.of_others()

            def delete(connection: sqlite3.Connection) -> list[Digest]:
                named = "SELECT 1 FROM image_blobs WHERE digest=?"
                going = [
                    each
                    for each in digests
                    if f"blob:{each}" not in held and connection.execute(named, (each,)).fetchone() is None
                ]
                for table in ("blobs", "layer_blobs"):
                    connection.executemany(f"DELETE FROM {table} WHERE digest=?", [(each,) for each in going])  # noqa: S608
                connection.executemany("UPDATE blobs SET condemned=0 WHERE digest=?", [(each,) for each in digests])
                return going

            return sum(map(self._remove, self._database.write_now(delete)))
