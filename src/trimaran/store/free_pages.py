"""Giving back to the disk what was deleted in the databases: SQLite keeps the pages for later, and never shrinks."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from trimaran.errors import TrimaranError
from trimaran.store.database import Database, connect

_LEAST = 1 << 20
"""Bytes that are worth it."""


def give_back(database: Database) -> None:
    """Rewrite a database that is half empty. What is kept is copied once, so this costs less than the deleting did.

    Somebody who writes at the moment is not waited for: the next one does it.
    """
    try:
        if not any(_is_half_empty(database, schema) for schema in ("main", "fast")):
            return
        with closing(connect(database.folder, readonly=False)) as connection:
            connection.execute("PRAGMA busy_timeout=100")
            connection.execute("PRAGMA temp_store=FILE")  # what is kept may be more than memory should hold
            for schema in ("main", "fast"):
                if _is_half_empty(database, schema):
                    connection.execute(f"VACUUM {schema}")
                    connection.execute(f"PRAGMA {schema}.wal_checkpoint(TRUNCATE)").fetchall()
    except (sqlite3.Error, TrimaranError):
        return  # busy, or no room for the copy: it is as it was


def _is_half_empty(database: Database, schema: str) -> bool:
    (free,) = database.row(f"PRAGMA {schema}.freelist_count")
    (pages,) = database.row(f"PRAGMA {schema}.page_count")
    (page,) = database.row(f"PRAGMA {schema}.page_size")
    return bool(free * page >= _LEAST and 2 * free >= pages)


def size(folder: str) -> int:
    """Bytes that the databases take on disk."""
    total = 0
    for name in ("store.db", "fast.db", "store.db-wal", "fast.db-wal"):
        try:
            total += os.stat(os.path.join(folder, name)).st_blocks * 512
        except FileNotFoundError:
            continue
    return total
