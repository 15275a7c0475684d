"""A damaged database is set aside, and all rows that can still be read go into a new one.

Law: as soon as the new one is whole it is called `store.db.mended`, and whoever opens the store then puts it in place
first. So no crash of ours leaves an empty store, or an old log (`-wal`) beside a new file: SQLite would play it back.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress

from trimaran.errors import Conflict
from trimaran.store.database import MENDED, create_database
from trimaran.store.failpoints import reached
from trimaran.store.locks import guarded
from trimaran.store.pins import live_builds

_SUFFIXES = ("", "-wal", "-shm")
_ASIDE = ".damaged"


def salvage(root: str, names: list[str]) -> None:
    """Mend `store.db` and `fast.db`, as named. Conflict while builds run: they have the files open."""
    if live_builds(root):
        raise Conflict("repair store: a build is running", hint="wait for it to end")
    with guarded(os.path.join(root, "open.lock"), exclusive=True):
        if "fast.db" in names:
            for suffix in _SUFFIXES:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(root, f"fast.db{suffix}"))
        if "store.db" in names:
            _salvage(root)


def _salvage(root: str) -> None:
    old, new = os.path.join(root, "store.db"), os.path.join(root, "store.db.new")
    for suffix in _SUFFIXES:
        with suppress(FileNotFoundError):
            os.unlink(new + suffix)
    with closing(create_database(new)) as target:
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(old, isolation_level=None)) as source:
            source.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            _copy(source, target)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    reached("database mended")
    os.rename(new, os.path.join(root, MENDED))
    put_in_place(root)


def put_in_place(root: str) -> None:
    """Give the mended database the name of the damaged one. `open.lock` is held.

    Nothing when another was quicker, who may be writing by now: the log is the mended one's then.
    """
    old, mended = os.path.join(root, "store.db"), os.path.join(root, MENDED)
    if not os.path.exists(mended):
        return
    reached("before log set aside")
    for suffix in _SUFFIXES[1:]:
        with suppress(FileNotFoundError):
            os.rename(old + suffix, f"{old}{_ASIDE}{suffix}")
    reached("before database replaced")
    with suppress(FileNotFoundError):
        os.unlink(old + _ASIDE)
    with suppress(FileNotFoundError):
        os.link(old, old + _ASIDE)
    os.replace(mended, old)


def forget_damaged(root: str) -> None:
    """The database was sound, and has been since it was mended: what was set aside then can go."""
    for suffix in _SUFFIXES:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(root, f"store.db{_ASIDE}{suffix}"))


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Table by table from both ends, so that one bad page costs no more than what is on it."""
    tables = target.execute("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'").fetchall()
    for (table,) in tables:
        there = {name for _, name, *_ in source.execute(f"PRAGMA table_info({table})")}  # of an older format less
        columns = [row for row in target.execute(f"PRAGMA table_info({table})").fetchall() if row[1] in there]
        if not columns:
            continue
        order = ",".join(name for _, name, *_, primary in columns if primary) or "rowid"
        names = ",".join(name for _, name, *_ in columns)
        insert = f"INSERT OR IGNORE INTO {table}({names}) VALUES({','.join('?' * len(columns))})"
        for direction in ("", " DESC"):
            by = ",".join(f"{name}{direction}" for name in order.split(","))
            with suppress(sqlite3.DatabaseError):
                for row in source.execute(f"SELECT {names} FROM {table} ORDER BY {by}"):  # noqa: S608
                    with suppress(sqlite3.DatabaseError, UnicodeEncodeError):
                        target.execute(insert, row)
