"""Deleting layers and blobs that nobody needs, while builds go on.

Law: condemn rows, read the pins of living builds, then delete what is still condemned: rows first, then files. Builds
pin before they look, and take condemned rows for missing. A stack is deleted from its top.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

import msgspec

from trimaran.aio import Cancel
from trimaran.errors import Unavailable
from trimaran.solver.protocols import Eviction
from trimaran.store import cache_mounts, free_pages, locks, repositories
from trimaran.store.database import Database, marks
from trimaran.store.deleting import delete_rows, spans
from trimaran.store.failpoints import reached
from trimaran.store.last_use import LastUse
from trimaran.store.locks import guarded
from trimaran.store.page_rows import sweep_pages
from trimaran.store.pins import live_pins, orphans
from trimaran.store.prune import PruneOptions, choose
from trimaran.store.remembered import REMEMBERED, forget, remembered, trim
from trimaran.store.removal import remove_tree, remove_trees, unlink_all
from trimaran.store.tombstones import bury_layers
from trimaran.store.usage import CACHE_MOUNT, GIT_REPOSITORY, UsageRecord, usage

ASKED = Eviction(cause="prune")
_LOST = Eviction(cause="lost")
_BATCH = 20_000
"""Layers deleted in one transaction: so long a build that ends waits for us, a third of a second."""


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
        # A collector that died may have condemned; on a full disk what it did is for the next one.
        with suppress(Unavailable), guarded(os.path.join(self._root, "gc.lock"), exclusive=True):
            self._database.execute("UPDATE layers SET condemned=0 WHERE condemned").result()
        before = free_pages.size(self._root)
        chosen = self.plan(cancel, options)
        for start in range(0, len(chosen), _BATCH):
            cancel.check()
            some = chosen[start : start + _BATCH]
            yield from self._delete_folders(cancel, some)
            yield from self._delete_in_any_case(cancel, some, why)
        known = [record for record in chosen if record.id == REMEMBERED]
        if known:
            self._database.write_now(lambda connection: forget(connection, why))
        self.sweep(cancel)
        free_pages.give_back(self._database)
        shrunk = max(0, before - free_pages.size(self._root))
        yield from (msgspec.structs.replace(record, size=shrunk) for record in known)

    def forget(self, why: Eviction, *, over: int) -> int:
        """Drop what is only remembered, when it takes more than `over` bytes; bytes freed."""
        if remembered(self._database)[0] <= over:
            return 0
        before = free_pages.size(self._root)
        self._database.write_now(lambda connection: forget(connection, why))
        free_pages.give_back(self._database)
        return max(0, before - free_pages.size(self._root))

    def _delete_in_any_case(self, cancel: Cancel, chosen: list[UsageRecord], why: Eviction) -> list[UsageRecord]:
        """Also on a disk without room for the rows that say so."""
        try:
            return self._delete(cancel, chosen, why)
        except Unavailable:
            from trimaran.store.relief import relieve

            if not relieve(cancel, self._root, self._database, chosen):
                raise
            return self._delete(cancel, chosen, why)

    def drop(self, layer: str, why: Eviction) -> None:
        """Forget one layer, whoever has it: it is not what it is said to be. Its files go with the next sweep."""
        with guarded(os.path.join(self._root, "gc.lock"), exclusive=True):
            self._database.write_now(lambda connection: _lose_layers(connection, [layer], why))

    def _free(self) -> int:
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    def _stacks(self) -> dict[str, list[str]]:
        """What each layer stands on."""
        rows = self._database.query("SELECT id, parents FROM layers WHERE parents != '' AND NOT condemned")
        return {layer: parents.split() for layer, parents in rows}

    def _delete(self, cancel: Cancel, chosen: list[UsageRecord], why: Eviction) -> list[UsageRecord]:
        chosen = [record for record in chosen if record.type not in (CACHE_MOUNT, GIT_REPOSITORY)]
        self._database.write_now(lambda connection: _condemn(connection, [record.id for record in chosen]))
        reached("gc condemned")
        trash: list[str] = []
        with guarded(os.path.join(self._root, "gc.lock"), exclusive=True):
            pins = live_pins(self._root)
            freed = self._database.write_now(lambda connection: self._delete_rows(connection, chosen, pins, trash, why))
            reached("gc rows")
            self._delete_blobs()
        self._remove_snapshots(cancel, trash)
        reached("gc files")
        return freed

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
        condemned = {layer for (layer,) in connection.execute("SELECT id FROM layers WHERE condemned")}
        going = [record for record in chosen if record.id in condemned]  # others a build made anew meanwhile
        pinned = [record.id for record in going if f"layer:{record.id}" in pins]
        _pardon(connection, pinned)
        going = [record for record in going if f"layer:{record.id}" not in pins]
        layers = [record.id for record in going]
        for some in spans(layers):
            rows = connection.execute(f"SELECT number FROM snapshots WHERE layer IN ({marks(some)})", some)  # noqa: S608
            trash += [str(number) for (number,) in rows]
        gone = _delete_layers(connection, layers, why, of_images={record.id for record in going if record.shared})
        return [record for record in going if record.id in gone or record.size]

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
            delete_rows(connection, "blobs", "digest", gone)
            connection.execute("UPDATE blobs SET condemned=0 WHERE condemned")
            return gone

        files: dict[str, list[str]] = {}
        for name in self._database.write_now(job):
            algorithm, _, file = name.partition(":")
            files.setdefault(algorithm, []).append(file)
        for algorithm, names in files.items():
            unlink_all(os.path.join(self._root, "blobs", algorithm), names)

    def _remove_snapshots(self, cancel: Cancel, names: Sequence[str]) -> None:
        remove_trees(cancel, os.path.join(self._root, "snapshots"), names)

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
            self._database.write_now(lambda connection: trim(connection, why))
        self._remove_snapshots(cancel, trash)
        cache_mounts.sweep(cancel, self._root)
        repositories.sweep(cancel, self._root)
        for name in orphans(self._root):
            remove_tree(cancel, os.path.join(self._root, "temp", name))
        locks.sweep(os.path.join(self._root, "locks"))

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
        return [name for name in names if name not in known]


def _condemn(connection: sqlite3.Connection, layers: Sequence[str]) -> None:
    for some in spans(layers):
        connection.execute(f"UPDATE layers SET condemned=1 WHERE id IN ({marks(some)})", some)  # noqa: S608


def _pardon(connection: sqlite3.Connection, layers: Sequence[str]) -> None:
    connection.executemany("UPDATE layers SET condemned=0 WHERE id=?", [(layer,) for layer in layers])


def _delete_layers(
    connection: sqlite3.Connection, layers: Sequence[str], why: Eviction, *, of_images: Collection[str] = ()
) -> set[str]:
    """All rows of the layers; of those `of_images` a row stays, and the layer, that a named image needs to be run or
    pushed. Gives the layers that went.
    """
    for some in spans(layers):
        connection.execute(f"DELETE FROM snapshots WHERE layer IN ({marks(some)})", some)  # noqa: S608
    needed: set[str] = set()
    for some in spans(list(of_images)):
        connection.execute(
            f"DELETE FROM layer_blobs WHERE layer IN ({marks(some)})"  # noqa: S608
            " AND digest NOT IN (SELECT digest FROM image_blobs)",
            some,
        )
        rows = connection.execute(f"SELECT layer FROM layer_blobs WHERE layer IN ({marks(some)})", some)  # noqa: S608
        needed.update(layer for (layer,) in rows)
    _pardon(connection, list(needed))
    going = [layer for layer in layers if layer not in needed]
    for some in spans(going):
        connection.execute(f"DELETE FROM layer_blobs WHERE layer IN ({marks(some)})", some)  # noqa: S608
        connection.execute(f"DELETE FROM layer_files WHERE layer IN ({marks(some)})", some)  # noqa: S608
    bury_layers(connection, going, why)
    delete_rows(connection, "layers", "id", going)
    for some in spans(going):
        connection.execute(f"DELETE FROM fast.used WHERE kind='layer' AND id IN ({marks(some)})", some)  # noqa: S608
    return set(going)


def _lose_layers(connection: sqlite3.Connection, layers: Sequence[str], why: Eviction) -> None:
    """As `_delete_layers`, from the middle of stacks: what stands on them stays, but nobody is promised it any more."""
    if not layers:
        return
    lost = set(layers)
    rows = connection.execute("SELECT id, parents FROM layers WHERE parents != ''")
    bury_layers(connection, [layer for layer, parents in rows if not lost.isdisjoint(parents.split())], why)
    _delete_layers(connection, layers, why)


def _sweep_layers(connection: sqlite3.Connection, pins: set[str], why: Eviction) -> None:
    """Layers that never got bytes, or lost them."""
    rows = connection.execute(
        "SELECT id FROM layers WHERE id NOT IN (SELECT layer FROM snapshots)"
        " AND id NOT IN (SELECT layer FROM layer_blobs)"
    ).fetchall()
    _lose_layers(connection, [layer for (layer,) in rows if f"layer:{layer}" not in pins], why)
    connection.execute(
        "DELETE FROM origins WHERE digest NOT IN (SELECT digest FROM layer_blobs)"
        " AND digest NOT IN (SELECT digest FROM image_blobs)"  # one that was pushed may have its base there alone
    )
