"""What is remembered of records that went, so that a miss can be explained. Small: the last MOST of them.

Law: whoever deletes records does it by `bury` (or `bury_layers`), in its own transaction; nobody deletes from `records`
otherwise, but the solver when what a record promised is not there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

import msgspec

from trimaran.solver.protocols import CacheRecord, Eviction, Tombstone
from trimaran.store.database import Database, marks
from trimaran.store.deleting import delete_rows, spans
from trimaran.store.packing import pack, unpack

MOST = 2000
"""Tombstones kept, the latest; about 1 KiB each."""


def bury_layers(connection: sqlite3.Connection, layers: Sequence[str], why: Eviction) -> None:
    """Delete the records that promise one of `layers`, in their order."""
    keys: dict[str, None] = {}
    for some in spans(layers):
        rows = connection.execute(f"SELECT layer, key FROM record_layers WHERE layer IN ({marks(some)})", some)  # noqa: S608
        of_layer: dict[str, list[str]] = {}
        for layer, key in rows:
            of_layer.setdefault(layer, []).append(key)
        keys.update((key, None) for layer in some for key in of_layer.get(layer, ()))
    bury(connection, list(keys), why)


def bury(connection: sqlite3.Connection, keys: Sequence[str], why: Eviction) -> None:
    """Delete these records and remember that they were, the last of them where they are more than MOST."""
    if not keys:
        return
    now = time.time_ns()
    there: list[str] = []
    older, latest = keys[:-MOST], keys[-MOST:]
    for some in spans(older):
        there += [key for (key,) in connection.execute(f"SELECT key FROM records WHERE key IN ({marks(some)})", some)]  # noqa: S608
    for some in spans(latest):
        sql = f"SELECT key, place, body FROM records WHERE key IN ({marks(some)})"  # noqa: S608
        found = connection.execute(sql, some).fetchall()
        there += [key for key, _, _ in found]
        stones = [(key, place, now, pack(stone)) for key, place, body in found if (stone := _stone(body, now, why))]
        connection.executemany("INSERT OR REPLACE INTO tombstones VALUES(?,?,?,?)", stones)
    delete_rows(connection, "records", "key", there)
    _forget_layers(connection, keys)
    connection.execute(
        "DELETE FROM tombstones WHERE key IN (SELECT key FROM tombstones ORDER BY at DESC LIMIT -1 OFFSET ?)", (MOST,)
    )


def _forget_layers(connection: sqlite3.Connection, keys: Sequence[str]) -> None:
    """What records that went had promised."""
    if connection.execute("SELECT 1 FROM records LIMIT 1").fetchone() is None:
        connection.execute("DELETE FROM record_layers")  # at once
        return
    for some in spans(keys):
        connection.execute(f"DELETE FROM record_layers WHERE key IN ({marks(some)})", some)  # noqa: S608


def _stone(body: bytes, now: int, why: Eviction) -> Tombstone | None:
    try:
        record = unpack(body, CacheRecord)
    except msgspec.MsgspecError:
        return None
    account = record.account and msgspec.structs.replace(record.account, lists=())
    return Tombstone(record=msgspec.structs.replace(record, results=(), account=account), at=now, why=why)


def find(database: Database, key: str) -> Tombstone | None:
    return _read(database.row("SELECT body FROM tombstones WHERE key=?", (key,)))


def latest(database: Database, place: str) -> Tombstone | None:
    """The one that went last of those that stood at `place`."""
    return _read(database.row("SELECT body FROM tombstones WHERE place=? ORDER BY at DESC LIMIT 1", (place,)))


def _read(row: tuple[bytes] | None) -> Tombstone | None:
    try:
        return None if row is None else unpack(row[0], Tombstone)
    except msgspec.MsgspecError:
        return None
