"""What `fsck` finds, and the words it is told in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial

import msgspec

from trimaran.store.database import Database


class Damage(msgspec.Struct, frozen=True):
    """`part` of the store, `name` of the thing, what is wrong, and what becomes of it when it is repaired."""

    part: str
    """database | blob | layer | list | snapshot | record | image"""
    name: str
    cause: str
    mend: str = ""
    """ "": it cannot be."""


Found = tuple[Damage, Callable[[], object] | None]
"""And how to mend it."""

AGAIN = "it is dropped, and fetched or made again when it is wanted"


class Looked:
    """How much was looked at. `unknown_files`: of steps, whose content nobody had hashed before; now it is known.

    `unlisted`: folders of layers whose list is gone, until a build reads it from a blob: nothing to compare them with.
    `leftovers`: folders that belong to no layer, as a build leaves them that is killed: harmless, swept by any prune.
    """

    __slots__ = ("blobs", "leftovers", "records", "snapshots", "unknown_files", "unlisted")

    def __init__(self) -> None:
        self.blobs = self.leftovers = self.records = self.snapshots = self.unknown_files = self.unlisted = 0


def statement(database: Database, sql: str, *parameters: object) -> Callable[[], object]:
    """A mend that is one statement."""

    def job(connection: sqlite3.Connection) -> None:
        connection.execute(sql, parameters)

    return partial(database.write_now, job)
