"""What the store remembers without having any bytes of it: room in the databases, and made again by reading.

These are records that no layer of the store stands behind (of files that were copied and that no image and no process
needed), values that outlive their layers (memos), and the digests of files by their times. `du` shows them as one
thing, and all of it goes at once: each is cheap to make again, and only a database that is emptied gives room back.
"""

from __future__ import annotations

import sqlite3
import time

from trimaran.solver.protocols import Eviction
from trimaran.store.database import Database
from trimaran.store.last_use import LAYER, RECORD
from trimaran.store.tombstones import bury

REMEMBERED = "remembered"
"""What `du` calls it."""
DESCRIPTION = "records of what was only copied, digests of files by their times"
MOST_RECORDS, MOST_FILES, MOST_MEMOS = 20_000, 1_000_000, 50_000
"""Kept at most, of records the last used."""
_ROW, _FILE = 600, 110
"""About what a record takes beside its body, keys and indexes; what a file or a memo takes."""
_BARE = "key NOT IN (SELECT key FROM record_layers WHERE layer IN (SELECT id FROM layers))"


def remembered(database: Database) -> tuple[int, int]:
    """About how many bytes of the databases, and when (ns) any record among it was last made or used.

    Where there are no records, now: nothing says how old the rest is.
    """
    bodies, count, at = database.row(
        "SELECT coalesce(sum(length(body)), 0), count(*), coalesce(max(max(created, coalesce(at, 0))), 0)"  # noqa: S608
        f" FROM records LEFT JOIN fast.used ON kind=? AND id=key WHERE {_BARE}",
        (RECORD,),
    )
    (files,) = database.row("SELECT count(*) FROM fast.stat")
    (memos,) = database.row("SELECT count(*) FROM memos")
    return bodies + _ROW * count + _FILE * (files + memos), at if count else time.time_ns()


def forget(connection: sqlite3.Connection, why: Eviction) -> None:
    """All of it. The records are known as evicted, as others are."""
    rows = connection.execute(f"SELECT key FROM records WHERE {_BARE} ORDER BY created").fetchall()  # noqa: S608
    bury(connection, [key for (key,) in rows], why)
    connection.execute("DELETE FROM memos")
    connection.execute("DELETE FROM fast.stat")


def trim(connection: sqlite3.Connection, why: Eviction) -> None:
    """What is over the most that is kept, and when things were used that are gone."""
    rows = connection.execute(
        f"SELECT key FROM records LEFT JOIN fast.used ON kind=? AND id=key WHERE {_BARE}"  # noqa: S608
        " ORDER BY coalesce(at, created) DESC LIMIT -1 OFFSET ?",
        (RECORD, MOST_RECORDS),
    ).fetchall()
    bury(connection, [key for (key,) in rows], why)
    for table, most in (("memos", MOST_MEMOS), ("fast.stat", MOST_FILES)):
        if connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] > most:  # noqa: S608
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - nothing says which of them were used last
    connection.execute("DELETE FROM fast.used WHERE kind=? AND id NOT IN (SELECT key FROM records)", (RECORD,))
    connection.execute("DELETE FROM fast.used WHERE kind=? AND id NOT IN (SELECT id FROM layers)", (LAYER,))
