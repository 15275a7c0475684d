"""The rows of layers: lists, blobs, parents and origins in the database. For the loop: reads cost about 10 µs each."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NewType

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.oci.descriptor import Descriptor
from trimaran.store.database import Database
from trimaran.store.packing import pack, row_sum

if TYPE_CHECKING:
    from trimaran.store.entries import EntryList
    from trimaran.store.pages import Paged

LayerId = NewType("LayerId", str)

PULLED = "pulled"
"""The compression column of a blob that somebody else made, and whose content was read."""

CLAIMED = "claimed"
"""That of a blob which is said to hold the layer, and which nobody has read (`layer_places`)."""


class LayerBlob(msgspec.Struct, frozen=True):
    """A layer as a blob: its descriptor, and the digest of its uncompressed tar."""

    descriptor: Descriptor
    diff_id: Digest


class LayerRows:
    """A row may be condemned for a moment: whoever pinned it and saw it alive (`lives`) keeps it, and asks no more."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lives(self, layer: LayerId) -> bool:
        """Whether there is a row that no garbage collector has condemned."""
        return self._database.row("SELECT 1 FROM layers WHERE id=? AND NOT condemned", (layer,)) is not None

    def entries(self, layer: LayerId) -> EntryList | None:
        """The layer's list, if it was kept; None also when pages of it are gone or damaged."""
        row = self._database.row("SELECT entries FROM layers WHERE id=?", (layer,))
        if row is None or row[0] is None:
            return None
        from trimaran.store.page_rows import read_pages
        from trimaran.store.pages import joined

        try:
            return joined(row[0], partial(read_pages, self._database))
        except Corrupt:  # a list can be made again, from the layer's folder or blob
            if not self._database.readonly:
                self._database.execute("UPDATE layers SET entries=NULL WHERE id=?", (layer,))
            return None

    def parents(self, layer: LayerId) -> tuple[LayerId, ...]:
        row = self._database.row("SELECT parents FROM layers WHERE id=?", (layer,))
        return tuple(LayerId(parent) for parent in row[0].split()) if row else ()

    def created(self, layer: LayerId) -> int:
        row = self._database.row("SELECT created FROM layers WHERE id=?", (layer,))
        return int(row[0]) if row else 0

    def blobs(self, layer: LayerId) -> Iterator[tuple[str, LayerBlob]]:
        """(compression, blob) of all that were made, pulled (first) or claimed; says nothing about their bytes."""
        rows = self._database.query(
            "SELECT compression, digest, size, media_type, diff_id FROM layer_blobs JOIN layers ON layers.id=layer"
            " WHERE layer=? ORDER BY compression != ?, compression",
            (layer, PULLED),
        )
        for compression, digest, size, media_type, diff_id in rows:
            descriptor = Descriptor(media_type=media_type, digest=Digest(digest), size=size)
            yield compression, LayerBlob(descriptor, Digest(diff_id))

    def add_remote(self, layer: LayerId, descriptor: Descriptor, repository: str) -> None:
        """Remember that the layer exists, and where its blob does; writes nothing that is known."""
        row = self._database.row("SELECT remote FROM layers WHERE id=? AND NOT condemned", (layer,))
        body = pack(descriptor)
        if row is None or row[0] != body:
            self._database.submit(lambda connection: insert_layer(connection, layer, diff_id=layer, remote=body))
        if repository and repository not in self.repositories(descriptor.digest):
            self._database.execute("INSERT OR IGNORE INTO origins VALUES(?,?)", (descriptor.digest, repository))

    def add_claimed(self, layer: LayerId, descriptor: Descriptor) -> None:
        """Remember what a blob that is here is said to be; writes nothing that is known."""
        sql = "SELECT 1 FROM layer_blobs WHERE layer=? AND compression IN (?,?) AND digest=?"
        known = self._database.row(sql, (layer, PULLED, CLAIMED, descriptor.digest)) is not None
        if not known or not self.lives(layer):
            made = LayerBlob(descriptor, Digest(layer))
            self._database.submit(lambda connection: insert_blob(connection, layer, CLAIMED, made))

    def repositories(self, digest: Digest) -> tuple[str, ...]:
        rows = self._database.query("SELECT repository FROM origins WHERE digest=? ORDER BY repository", (digest,))
        return tuple(row[0] for row in rows)

    def file(self, layer: LayerId, path: str) -> bytes | None:
        """A small file that was kept beside the list."""
        row = self._database.row("SELECT data FROM layer_files WHERE layer=? AND path=?", (layer, path))
        return None if row is None else bytes(row[0])

    def keep_file(self, layer: LayerId, path: str, data: bytes) -> None:
        self._database.execute("INSERT OR REPLACE INTO layer_files VALUES(?,?,?)", (layer, path, data))


def insert_layer(
    connection: sqlite3.Connection,
    layer: str,
    *,
    diff_id: str = "",
    entries: Paged | None = None,
    remote: bytes | None = None,
    parents: str = "",
    description: str = "",
) -> None:
    """Add or complete a row: what is given replaces, what is not stays."""
    if entries is not None:
        from trimaran.store.page_rows import insert_pages

        insert_pages(connection, entries.pages)
    created = time.time_ns()
    proof = row_sum(layer, parents, description, created)  # a process's layer has its stack from the first row on
    connection.execute(
        "INSERT INTO layers(id, entries, diff_id, remote, parents, description, created, sum) VALUES(?,?,?,?,?,?,?,?)"
        " ON CONFLICT(id) DO UPDATE SET entries=coalesce(excluded.entries, entries),"
        " diff_id=CASE excluded.diff_id WHEN '' THEN diff_id ELSE excluded.diff_id END,"
        " remote=coalesce(excluded.remote, remote),"
        " condemned=0",
        (layer, entries.top if entries is not None else None, diff_id, remote, parents, description, created, proof),
    )


def insert_blob(
    connection: sqlite3.Connection, layer: str, compression: str, made: LayerBlob, entries: Paged | None = None
) -> None:
    """Add a blob of the layer, and complete its row."""
    descriptor = made.descriptor
    insert_layer(connection, layer, diff_id=made.diff_id, entries=entries)
    connection.execute(
        "INSERT OR REPLACE INTO layer_blobs(layer, compression, digest, size, media_type) VALUES(?,?,?,?,?)",
        (layer, compression, descriptor.digest, descriptor.size, descriptor.media_type),
    )
    if compression == PULLED:
        drop_claimed(connection, layer)


def drop_claimed(connection: sqlite3.Connection, layer: str) -> None:
    """What was only claimed is known by now, or was not true."""
    connection.execute("DELETE FROM layer_blobs WHERE layer=? AND compression=?", (layer, CLAIMED))
