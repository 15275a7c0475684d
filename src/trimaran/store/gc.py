"""Deleting layers and blobs that nobody needs, while builds go on.

Law: condemn rows, read the pins of living builds, then delete what is still condemned: rows first, then files. Builds
pin before they look, and take condemned rows for missing. A stack is deleted from its top.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.solver.protocols import Eviction
from trimaran.store import cache_mounts, repositories
from trimaran.store.database import Database, marks
from trimaran.store.failpoints import reached
from trimaran.store.last_use import LastUse
from trimaran.store.locks import guarded
from trimaran.store.page_rows import sweep_pages
from trimaran.store.pins import live_pins
from trimaran.store.prune import PruneOptions, choose
from trimaran.store.removal import remove_tree
from trimaran.store.tombstones import bury_layer
from trimaran.store.usage import CACHE_MOUNT, GIT_REPOSITORY, UsageRecord, usage

ASKED = Eviction(cause="prune")
_LOST = Eviction(cause="lost")
_BATCH = 2000
"""Layers deleted in one transaction: so long a build that ends waits for us."""


class Collector:
    """The store's garbage collector, for disk functions."""

    def __init__(self, root: str, database: Database, last_use: LastUse) -> None:
        self._root = root
        self._database = database
        self._last_use = last_use

    def usage(self, cancel: Cancel) -> list[UsageRecord]:
        """What `du` shows, largest first."""
        return usage(cancel, self._root, self._database, self._last_use)

    def plan(self, cancel: Cancel, options: PruneOptions) -> list[UsageRecord]:
        """What `prune` would delete now, in its order; `size` less what stays for named images."""
        chosen = choose(self.usage(cancel), options, self._stacks(), free=self._free(), now=time.time_ns())
        freeing = [record for record in chosen if record.size > record.kept or not record.kept]
        return [msgspec.structs.replace(record, size=record.size - record.kept) for record in freeing]

    def prune(self, cancel: Cancel, options: PruneOptions, why: Eviction = ASKED) -> Iterator[UsageRecord]:
        """Delete what `options` let go; each record when its bytes are gone, with the size that was freed.

        Cache records that go are remembered with `why`.
        """
        with guarded(os.path.join(self._root, "gc.lock"), exclusive=True):  # a collector that died may have condemned
            self._database.execute("UPDATE layers SET condemned=0 WHERE condemned").result()
        chosen = self.plan(cancel, options)
        for start in range(0, len(chosen), _BATCH):
            cancel.check()
            some = chosen[start : start + _BATCH]
            yield from self._delete(cancel, some, why)
            yield from self._delete_folders(cancel, some)
        self.sweep(cancel)

    def _free(self) -> int:
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    def _stacks(self) -> dict[str, list[str]]:
        """What each layer stands on."""
        rows = self._database.query("SELECT id, parents FROM layers WHERE parents != '' AND NOT condemned")
        return {layer: parents.split() for layer, parents in rows}

    def _delete(self, cancel: Cancel, chosen: list[UsageRecord], why: Eviction) -> Iterator[UsageRecord]:
        chosen = [record for record in chosen if record.type not in (CACHE_MOUNT, GIT_REPOSITORY)]
        names = [record.id for record in chosen]
        self._database.write_now(
            lambda connection: connection.executemany(
                "UPDATE layers SET condemned=1 WHERE id=?", [(name,) for name in names]
            )
        )
        reached("gc condemned")
        trash: list[str] = []
        with guarded(os.path.join(self._root, "gc.lock"), exclusive=True):
            pins = live_pins(self._root)
            freed = self._database.write_now(lambda connection: self._delete_rows(connection, chosen, pins, trash, why))
            reached("gc rows")
            self._delete_blobs()
        for path in trash:
            remove_tree(cancel, path)
        reached("gc files")
        yield from freed

    def _delete_folders(self, cancel: Cancel, chosen: list[UsageRecord]) -> Iterator[UsageRecord]:
        """What is no layer."""
        for record in chosen:
            if record.type == GIT_REPOSITORY and (path := repositories.condemn(self._root, record.id)) is not None:
                remove_tree(cancel, path)
                yield record
            if record.type == CACHE_MOUNT and (path := cache_mounts.condemn(self._root, record.id)) is not None:
                self._database.execute("DELETE FROM fast.used WHERE kind=? AND id=?", (cache_mounts.KIND, record.id))
                remove_tree(cancel, path)
                yield record

    def _delete_rows(
        self,
        connection: sqlite3.Connection,
        chosen: list[UsageRecord],
        pins: set[str],
        trash: list[str],
        why: Eviction,
    ) -> list[UsageRecord]:
        freed = []
        for record in chosen:
            condemned = connection.execute("SELECT condemned FROM layers WHERE id=?", (record.id,)).fetchone()
            if condemned is None or not condemned[0]:
                continue  # a build made it anew meanwhile
            if f"layer:{record.id}" in pins:
                connection.execute("UPDATE layers SET condemned=0 WHERE id=?", (record.id,))
                continue
            rows = connection.execute("SELECT number FROM snapshots WHERE layer=?", (record.id,)).fetchall()
            trash += [os.path.join(self._root, "snapshots", str(number)) for (number,) in rows]
            if _delete_layer(connection, record.id, why, keep_images=record.shared) or record.size:
                freed.append(record)
        return freed

    def _delete_blobs(self) -> None:
        """Blobs that no layer, image or living build has. The collector's lock is held: no row is being inserted."""
        condemn = (
            "UPDATE blobs SET condemned=1 WHERE digest NOT IN (SELECT digest FROM layer_blobs)"
            " AND digest NOT IN (SELECT digest FROM image_blobs)"
        )
        self._database.execute(condemn).result()
        pins = live_pins(self._root)

        def job(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute("SELECT digest FROM blobs WHERE condemned").fetchall()
            gone = [digest for (digest,) in rows if f"blob:{digest}" not in pins]
            connection.executemany("DELETE FROM blobs WHERE digest=?", [(digest,) for digest in gone])
            connection.execute("UPDATE blobs SET condemned=0 WHERE condemned")
            return gone

        for name in self._database.write_now(job):
            digest = Digest(name)
            with suppress(OSError):
                os.unlink(os.path.join(self._root, "blobs", digest.algorithm, digest.hex))

    def sweep(self, cancel: Cancel, why: Eviction = _LOST) -> None:
        """Remove what crashes left: files without rows, rows without files, rows of layers that have no bytes."""
        trash: list[str] = []
        with guarded(os.path.join(self._root, "gc.lock"), exclusive=True):
            self._delete_blobs()
            pins = live_pins(self._root)
            self._sweep_blob_files(cancel, pins)
            trash += self._sweep_snapshots(pins)
            self._database.write_now(lambda connection: _sweep_layers(connection, pins, why))
            self._database.write_now(sweep_pages)
        for path in trash:
            remove_tree(cancel, path)
        cache_mounts.sweep(cancel, self._root)
        repositories.sweep(cancel, self._root)

    def _sweep_blob_files(self, cancel: Cancel, pins: set[str]) -> None:
        folder = os.path.join(self._root, "blobs")
        for algorithm in os.listdir(folder):
            names = os.listdir(os.path.join(folder, algorithm))
            for start in range(0, len(names), 500):
                cancel.check()
                some = [f"{algorithm}:{name}" for name in names[start : start + 500]]
                rows = self._database.query(f"SELECT digest FROM blobs WHERE digest IN ({marks(some)})", tuple(some))  # noqa: S608
                known = {row[0] for row in rows}
                for digest in some:
                    if digest not in known and f"blob:{digest}" not in pins:
                        with suppress(OSError):
                            os.unlink(os.path.join(folder, algorithm, digest.partition(":")[2]))

    def _sweep_snapshots(self, pins: set[str]) -> list[str]:
        """Folders without a row; a row exists before its folder does. Rows whose build died before it was filled."""
        folder = os.path.join(self._root, "snapshots")
        names = os.listdir(folder)
        live = set(os.listdir(os.path.join(self._root, "live")))

        def job(connection: sqlite3.Connection) -> set[str]:
            rows = connection.execute(
                "SELECT number, layer, boot FROM snapshots WHERE boot='' OR layer NOT IN (SELECT id FROM layers)"
            ).fetchall()
            for number, layer, boot in rows:
                build = layer.rpartition("/temp/")[2].partition("/")[0]
                if f"layer:{layer}" not in pins if boot else build not in live:
                    connection.execute("DELETE FROM snapshots WHERE number=?", (number,))
            return {str(number) for (number,) in connection.execute("SELECT number FROM snapshots")}

        known = self._database.write_now(job)
        return [os.path.join(folder, name) for name in names if name not in known]


def _delete_layer(connection: sqlite3.Connection, layer: str, why: Eviction, *, keep_images: bool) -> bool:
    """All rows of a layer; with `keep_images` those stay (False) that a named image needs to be run or pushed."""
    connection.execute("DELETE FROM snapshots WHERE layer=?", (layer,))
    if keep_images:
        connection.execute(
            "DELETE FROM layer_blobs WHERE layer=? AND digest NOT IN (SELECT digest FROM image_blobs)", (layer,)
        )
        if connection.execute("SELECT 1 FROM layer_blobs WHERE layer=?", (layer,)).fetchone():
            connection.execute("UPDATE layers SET condemned=0 WHERE id=?", (layer,))
            return False
    connection.execute("DELETE FROM layer_blobs WHERE layer=?", (layer,))
    connection.execute("DELETE FROM layer_files WHERE layer=?", (layer,))
    bury_layer(connection, layer, why)
    connection.execute("DELETE FROM layers WHERE id=?", (layer,))
    connection.execute("DELETE FROM fast.used WHERE kind='layer' AND id=?", (layer,))
    return True


def _sweep_layers(connection: sqlite3.Connection, pins: set[str], why: Eviction) -> None:
    """Layers that never got bytes, or lost them."""
    rows = connection.execute(
        "SELECT id FROM layers WHERE id NOT IN (SELECT layer FROM snapshots)"
        " AND id NOT IN (SELECT layer FROM layer_blobs)"
    ).fetchall()
    for (layer,) in rows:
        if f"layer:{layer}" not in pins:
            _delete_layer(connection, layer, why, keep_images=False)
    connection.execute("DELETE FROM origins WHERE digest NOT IN (SELECT digest FROM layer_blobs)")
