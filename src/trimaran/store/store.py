"""The store of one user on one machine: a folder with a database, blobs, snapshots and temp files of live builds."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import Cancelled, NotFound
from trimaran.store.ceiling import Ceiling
from trimaran.store.content import Content
from trimaran.store.database import Database, open_database
from trimaran.store.disk import disk_errors
from trimaran.store.images import Images
from trimaran.store.last_use import LastUse
from trimaran.store.layers import Layers
from trimaran.store.pins import Pins, dead_builds, orphans, sweep
from trimaran.store.records import Records
from trimaran.store.rootfs import Roots
from trimaran.store.snapshots import Snapshots, choose_snapshots
from trimaran.store.stat_cache import StatCache

if TYPE_CHECKING:
    from trimaran.store.cache_mounts import CacheMounts
    from trimaran.store.gc import Collector

_FOLDERS = ("blobs", "blobs/sha256", "snapshots", "temp", "live", "locks")


class Store:
    """Opened by `open_store`, closed by `close` (or as a context manager). One per process and root."""

    def __init__(self, root: str, database: Database, *, user_xattrs: bool) -> None:
        self.root = root
        self.database = database
        self.readonly = database.readonly
        self.pins = Pins(root)
        self.last_use = LastUse(database)
        self.ceiling = Ceiling(root, lambda: self.collector, self.pins)
        self.content = Content(root, database, self.pins, self.ceiling)
        self.snapshots: Snapshots = choose_snapshots(root, database, self.pins, user_xattrs=user_xattrs)
        self.layers = Layers(
            root, database, self.pins, content=self.content, snapshots=self.snapshots, last_use=self.last_use
        )
        self.roots = Roots(self.layers, self.snapshots)
        self.records = Records(root, database, self.last_use)
        self.images = Images(database, self.content)
        self.stat_cache = StatCache(database)
        self._opened = time.monotonic()
        self._sweeper: threading.Thread | None = None
        self._stop = Cancel()

    @property
    def collector(self) -> Collector:
        """`usage` and `prune`, for disk functions."""
        from trimaran.store.gc import Collector

        return Collector(self.root, self.database, self.last_use)

    @property
    def cache_mounts(self) -> CacheMounts:
        from trimaran.store.cache_mounts import CacheMounts

        return CacheMounts(self.root, self.database, self.pins, self.last_use)

    def secret_key(self) -> bytes:
        """For hashes of what must not be guessed from the store's records."""
        from trimaran.store.secret_key import secret_key

        return secret_key(self.root)

    async def sync(self) -> None:
        """Make durable what this build left: called once, before success is reported. One syncfs, if any is needed."""
        await self.database.flush()
        syncing = aio.in_thread(self._sync)
        if self.layers.made_here:
            from trimaran.store.hashing import hash_meanwhile

            await hash_meanwhile(self.layers, self.layers.made_here, syncing, since=self._opened)
            await self.database.flush()
        else:
            await syncing

    def _sync(self, cancel: Cancel) -> None:
        cancel.check()
        with disk_errors("sync store"):
            self.snapshots.folders.sync()

    def close(self) -> None:
        """Commit what was submitted, drop the pins, remove the temp folder. Idempotent."""
        self._stop.set()
        if self._sweeper is not None:
            self._sweeper.join()
            self._sweeper = None
        if not self.readonly:
            self.last_use.flush()
        self.database.close()
        self.pins.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sweep_dead_builds(self) -> None:
        """Remove, in a thread of its own, the temp files of builds whose process is gone, and those of nobody."""
        left = orphans(self.root)
        dead = dead_builds(self.root)
        if not (dead or left):
            return

        def work() -> None:
            try:
                sweep(self._stop, self.root, dead, left)
            except Cancelled:
                return  # the next command goes on with it

        self._sweeper = threading.Thread(target=work, name="trimaran-sweep", daemon=True)
        self._sweeper.start()


def open_store(root: str, *, readonly: bool = False, user_xattrs: bool = False) -> Store:
    """Open the store in `root`; unless `readonly`, make it when it is not there.

    `user_xattrs`: overlay marks are `user.overlay.*` attributes (inside a user namespace). NotFound when there is none
    and `readonly`; Denied when it cannot be written; Conflict when another version wrote it. About 2 ms.
    """
    root = os.path.abspath(root)
    if readonly:
        if not os.path.exists(os.path.join(root, "store.db")):
            raise NotFound(f'open store "{root}": there is none yet')
    else:
        with disk_errors("open store"):
            _make_folders(root)
    database = open_database(root, readonly=readonly)
    store = Store(root, database, user_xattrs=user_xattrs)
    if not readonly:
        store.sweep_dead_builds()
    return store


def _make_folders(root: str) -> None:
    """Also what somebody removed from a store that is there: an empty folder is one with nothing in it."""
    missing = [name for name in _FOLDERS if not os.path.isdir(os.path.join(root, name))]
    if not missing:
        return
    os.makedirs(root, 0o700, exist_ok=True)
    for name in missing:
        os.makedirs(os.path.join(root, name), 0o700, exist_ok=True)
