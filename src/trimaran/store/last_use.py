"""When things were last used and how often: gathered in memory, written when a build ends (losing some is harmless)."""

from __future__ import annotations

import sqlite3
import threading
import time

from trimaran.errors import TrimaranError
from trimaran.store.database import Database

LAYER = "layer"
RECORD = "record"
IMAGE = "image"


_SKEW = 2_000_000_000
_OF_NOW = """UPDATE fast.used SET at = ? - 1000 - later.before FROM
    (SELECT kind, id, row_number() OVER (ORDER BY at DESC) AS before FROM fast.used WHERE at > ?) AS later
    WHERE fast.used.kind = later.kind AND fast.used.id = later.id"""
"""Times in the future are of a clock that went wrong: they become times of now, in their order. What is used after that
is later again, and everything ages."""


class LastUse:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._guard = threading.Lock()
        self._pending: dict[tuple[str, str], int] = {}

    def bump(self, kind: str, identifier: str) -> None:
        """Counted once per build (that is, per flush), as BuildKit counts."""
        with self._guard:
            self._pending.setdefault((kind, identifier), time.time_ns())

    def flush(self) -> None:
        """Write what was gathered. A store that cannot take it keeps its older times."""
        with self._guard:
            pending, self._pending = self._pending, {}
        if not pending or self._database.readonly:
            return
        rows = [(kind, identifier, at) for (kind, identifier), at in pending.items()]
        now = min(pending.values())

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(_OF_NOW, (now, now + _SKEW))
            connection.executemany(
                "INSERT INTO fast.used(kind, id, at, count) VALUES(?,?,?,1)"
                " ON CONFLICT(kind, id) DO UPDATE SET at=max(at, excluded.at), count=count+1",
                rows,
            )

        try:
            self._database.write_last(job)
        except TrimaranError:
            return

    def of(self, kind: str) -> dict[str, tuple[int, int]]:
        """Id → (nanoseconds since the epoch, times used), for all of a kind, as far as it is written."""
        rows = self._database.query("SELECT id, at, count FROM fast.used WHERE kind=?", (kind,))
        return {identifier: (at, count) for identifier, at, count in rows}
