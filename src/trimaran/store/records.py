"""The solver's memory: cache records by key, and content keys that outlive their layers (memos)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from trimaran.digest import Digest
from trimaran.solver.protocols import Account, CacheRecord, KeyInput
from trimaran.store.database import Database
from trimaran.store.last_use import RECORD, LastUse
from trimaran.store.layer_lists import NOTHING
from trimaran.store.locks import locked
from trimaran.store.packing import pack, row_sum, unpack

SHARED = "shared"
"""The place of records whose results a shared cache gave (`caches/kept.py`): no step of a build file stands there."""


def _pack(record: CacheRecord) -> bytes:
    """Names that are no UTF-8 are written so that a person can still tell what they were."""
    try:
        return pack(record)
    except UnicodeEncodeError:
        inputs = tuple(KeyInput(_printable(part.name), _printable(part.value)) for part in record.inputs)
        return pack(msgspec.structs.replace(record, inputs=inputs, description=_printable(record.description)))


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _shared(record: CacheRecord) -> CacheRecord:
    """The record, its layers named by the strings that other records name them by: each has all of its stack."""
    results = tuple(tuple(map(sys.intern, parts)) for parts in record.results)
    return msgspec.structs.replace(record, results=results)


def noted_layers(record: CacheRecord) -> set[str]:
    """The layers whose end is the record's end: of each stack the top, and the topmost that a process made.

    A stack is deleted from its top, and what is only copied may be made again. So a record is noted at two layers and
    not at all of its stack, which would be the square of a graph's depth.
    """
    noted: set[str] = set()
    for result in record.results:
        stack = [layer for layer in result if layer != NOTHING]
        noted.update(stack[-1:])
        noted.update(next(([layer] for layer in reversed(stack) if layer.startswith("run-")), ()))
    return noted


class Records:
    """The member of `solver.protocols.Index` that lives on disk. Each one found costs 20 µs."""

    def __init__(self, root: str, database: Database, last_use: LastUse) -> None:
        self._locks = os.path.join(root, "locks")
        self._database = database
        self._last_use = last_use
        self._pending: dict[Digest, tuple[CacheRecord | None, Future[Any]]] = {}
        self._latest: dict[Digest, CacheRecord] = {}

    def find(self, key: Digest) -> CacheRecord | None:
        record = self._look(key)
        if record is not None:
            self._last_use.bump(RECORD, key)
        return record

    def peek(self, key: Digest) -> CacheRecord | None:
        """As `find`, but looking is no use."""
        return self._look(key)

    def _look(self, key: Digest) -> CacheRecord | None:
        waiting = self._pending.get(key)
        if waiting is not None:
            return waiting[0]
        row = self._database.row("SELECT body FROM records WHERE key=?", (key,))
        return None if row is None else self._decode(key, row[0])

    def has_processes(self) -> bool:
        """Whether any process's result is remembered."""
        return self._database.row("SELECT 1 FROM record_layers WHERE layer LIKE 'run-%' LIMIT 1", ()) is not None

    def has_shared(self) -> bool:
        """Whether anything that a shared cache gave is remembered."""
        return self._database.row("SELECT 1 FROM records WHERE place=? LIMIT 1", (SHARED,)) is not None

    def alike(self, op: Digest, most: int = 20) -> list[CacheRecord]:
        """The latest records of the same op, latest first; of those that are not written yet the latest alone."""
        rows = self._database.query(
            "SELECT key, body FROM records WHERE op=? ORDER BY created DESC LIMIT ?", (op, most)
        )
        written = [record for key, body in rows if (record := self._decode(key, body)) is not None]
        waiting = self._latest.get(op)
        return written if waiting is None else [waiting, *(each for each in written if each.key != waiting.key)]

    def knows(self, scope: str, *, before: int) -> bool:
        """Whether anything whose place begins with the word `scope` was recorded before then (ns)."""
        sql = "SELECT 1 FROM records WHERE place>=? AND place<? AND created<? LIMIT 1"
        return self._database.row(sql, (f"{scope} ", f"{scope}!", before)) is not None

    def latest_at(self, place: str, *, before: int, most: int = 20) -> list[CacheRecord]:
        """The latest records of whatever stood at `place` of a build file and was made `before` (ns), latest first."""
        sql = "SELECT key, body FROM records WHERE place=? AND created<? ORDER BY created DESC LIMIT ?"
        rows = self._database.query(sql, (place, before, most))
        return [record for key, body in rows if (record := self._decode(key, body)) is not None]

    def latest_in(self, words: str, *, before: int, most: int = 300) -> list[CacheRecord]:
        """The latest records made `before` (ns) whose places begin with these words, latest first."""
        known = "SELECT rowid FROM records WHERE place>=? AND place<? AND created<? ORDER BY created DESC LIMIT ?"
        sql = f"SELECT key, body FROM records WHERE rowid IN ({known}) ORDER BY created DESC"  # noqa: S608
        rows = self._database.query(sql, (f"{words} ", f"{words}!", before, most))
        return [record for key, body in rows if (record := self._decode(key, body)) is not None]

    def save(self, record: CacheRecord, pages: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Returns at once; a process that gets the key's lock after us sees it."""
        account = record.account or Account()
        lists = b"".join(each.top for each in account.lists)
        body = _pack(record)
        proof = row_sum(record.key, body, record.created, account.place, lists)
        row = (record.key, record.op, body, record.created, account.place, lists, proof)
        layers = sorted(noted_layers(record))

        def job(connection: sqlite3.Connection) -> None:
            if pages:
                from trimaran.store.page_rows import insert_pages

                insert_pages(connection, pages)
            connection.execute(
                "INSERT OR REPLACE INTO records(key, op, body, created, place, lists, sum) VALUES(?,?,?,?,?,?,?)", row
            )
            connection.execute("DELETE FROM tombstones WHERE key=?", (row[0],))
            connection.execute("DELETE FROM record_layers WHERE key=?", (row[0],))
            connection.executemany(
                "INSERT OR IGNORE INTO record_layers(key, layer) VALUES(?,?)", [(row[0], layer) for layer in layers]
            )

        self._latest[record.op] = record
        self._submit(record.key, record, job)
        self._last_use.bump(RECORD, record.key)

    def drop(self, key: Digest) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM records WHERE key=?", (key,))
            connection.execute("DELETE FROM record_layers WHERE key=?", (key,))

        for op in [op for op, record in self._latest.items() if record.key == key]:
            del self._latest[op]
        self._submit(key, None, job)

    def _submit(self, key: Digest, record: CacheRecord | None, job: Any) -> None:
        future = self._database.submit(job)
        self._pending[key] = (record, future)

    def _decode(self, key: str, body: bytes) -> CacheRecord | None:
        """A record that cannot be read is a miss."""
        try:
            return _shared(unpack(body, CacheRecord))
        except msgspec.MsgspecError:
            if not self._database.readonly:
                self.drop(Digest(key))
            return None

    @asynccontextmanager
    async def lock(self, key: Digest) -> AsyncIterator[None]:
        """Whoever leaves has its `save` of this key committed first, so the next holder finds it."""
        async with locked(os.path.join(self._locks, key.hex)):
            try:
                yield
            finally:
                waiting = self._pending.get(key)
                if waiting is not None:
                    await asyncio.wrap_future(waiting[1])
                    if self._pending.get(key) is waiting:
                        del self._pending[key]

    def memo(self, stack: str, selector: str) -> str | None:
        """What `selector` of the rootfs `stack` was found to be, also when its layers are gone."""
        row = self._database.row("SELECT value FROM memos WHERE stack=? AND selector=?", (stack, selector))
        return None if row is None else str(row[0])

    def remember(self, stack: str, selector: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO memos VALUES(?,?,?)", (stack, selector, value))
