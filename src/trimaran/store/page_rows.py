"""The rows of pages (`pages.py`): read by id, written with whatever names them, swept when nothing does any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable

from trimaran.store.database import Database, marks
from trimaran.store.pages import below, chunks, page_id


def read_pages(database: Database, ids: Collection[bytes]) -> dict[bytes, bytes]:
    """Bodies by id; what is gone, or not what was written, is left out. About 5 µs each."""
    found: dict[bytes, bytes] = {}
    for some in chunks(list(ids)):
        found.update(database.query(f"SELECT id, body FROM pages WHERE id IN ({marks(some)})", tuple(some)))  # noqa: S608
    return {page: body for page, body in found.items() if page_id(body) == page}


def insert_pages(connection: sqlite3.Connection, pages: Iterable[tuple[bytes, bytes]]) -> None:
    """In the transaction that writes what names them. One that was damaged is written anew."""
    connection.executemany(
        "INSERT INTO pages(id, body) VALUES(?,?)"
        " ON CONFLICT(id) DO UPDATE SET body=excluded.body WHERE body != excluded.body",
        pages,
    )


def sweep_pages(connection: sqlite3.Connection) -> int:
    """Delete pages that no layer and no record names; how many. Reads no page of entries."""
    kept: set[bytes] = set()
    waiting: list[bytes] = []
    for (top,) in connection.execute("SELECT entries FROM layers WHERE substr(entries, 1, 1) = x'01'"):
        waiting += below(top)
    for (lists,) in connection.execute("SELECT lists FROM records WHERE lists != x''"):
        waiting += below(b"\1" + lists)
    while waiting:
        fresh = list(set(waiting) - kept)
        kept.update(fresh)
        waiting = []
        for some in chunks(fresh):
            rows = connection.execute(
                f"SELECT body FROM pages WHERE id IN ({marks(some)}) AND substr(body, 1, 1) = x'01'",  # noqa: S608
                some,
            )
            waiting += [page for (body,) in rows for page in below(body)]
    gone = [(page,) for (page,) in connection.execute("SELECT id FROM pages") if page not in kept]
    connection.executemany("DELETE FROM pages WHERE id=?", gone)
    return len(gone)
