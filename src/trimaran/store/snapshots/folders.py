"""The layer folders on disk: `snapshots/<number>`, short names because overlayfs counts their bytes.

Law: a row carries the boot it was made in; until one syncfs made it durable, another boot takes it for missing. Half of
a folder is never at its number: it is filled in the build's temp folder and renamed.
"""

from __future__ import annotations

import os
import sqlite3
import time

from trimaran.linux import place
from trimaran.store.database import Database
from trimaran.store.disk import disk_errors
from trimaran.store.failpoints import reached
from trimaran.store.locks import guarded
from trimaran.store.pins import Pins

PLAIN = "plain"
USER = "user"
OWN = "own"
BARE = "bare"


def form(*, user_xattrs: bool) -> str:
    """What folders written by this process are like; those of different forms do not mix.

    `own`: all files are ours, since we can give them to nobody; `bare`: and their modes let us read them.
    """
    if place.gives_files():
        return USER if user_xattrs else PLAIN
    return OWN if place.has_capability(place.CAP_DAC_OVERRIDE) else BARE


def boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


class SnapshotFolders:
    """`user_xattrs`: this process's overlay marks are `user.overlay.*`."""

    def __init__(self, root: str, database: Database, pins: Pins, *, user_xattrs: bool) -> None:
        self._root = os.path.join(root, "snapshots")
        self._collector = os.path.join(root, "gc.lock")
        self._database = database
        self._pins = pins
        self._boot: str | None = None
        self.user_xattrs = user_xattrs
        self._form = form(user_xattrs=user_xattrs)

    @property
    def boot(self) -> str:
        if self._boot is None:
            self._boot = boot_id()
        return self._boot

    def path(self, layer: str) -> str | None:
        """The layer's folder, or None when there is none that can be trusted. 20 µs."""
        row = self._database.row(
            "SELECT number, synced, boot FROM snapshots WHERE layer=? AND form=?", (layer, self._form)
        )
        if row is None or not (row[1] or row[2] == self.boot):
            return None
        path = os.path.join(self._root, str(row[0]))
        if not os.path.isdir(path):
            self.forget(layer)
            return None
        return path

    def temporary(self) -> str:
        """A new empty folder to fill, removed with this process unless kept."""
        path = self._pins.temporary("snapshot")
        with disk_errors("make snapshot"):
            os.mkdir(path, 0o700)
            os.chmod(path, 0o755)  # noqa: S103 - it is shown as "/"; the store itself is closed
        return path

    def keep(self, temporary: str, layer: str) -> str:
        """Make a filled folder the layer's: its path. Whoever comes second keeps the first one's (equal) folder.

        Called from a disk thread, the layer's lock held.
        """
        reached("snapshot filled")
        known = self.path(layer)
        if known is not None:
            return known

        def number_it(connection: sqlite3.Connection) -> int:
            # A number is taken before the folder moves: AUTOINCREMENT never gives it again, whatever happens then.
            connection.execute("DELETE FROM snapshots WHERE layer=? AND form=?", (layer, self._form))
            return self._next_number(connection, temporary)

        with guarded(self._collector, exclusive=False):
            number = self._database.write_now(number_it)
            reached("snapshot numbered")
            path = os.path.join(self._root, str(number))
            with disk_errors("keep snapshot"):
                reached("before snapshot rename")
                os.rename(temporary, path)
            reached("snapshot renamed")

            def publish(connection: sqlite3.Connection) -> None:
                connection.execute("UPDATE snapshots SET layer=?, boot=? WHERE number=?", (layer, self.boot, number))

            self._database.write_now(publish)
        reached("snapshot row")
        return path

    def _next_number(self, connection: sqlite3.Connection, temporary: str) -> int:
        """A row for a folder that is not there yet: those of a database that was lost have no rows, and are left."""
        row = (f"\0{temporary}", self._form, "", time.time_ns())
        insert = "INSERT INTO snapshots(layer, form, boot, created) VALUES(?,?,?,?)"
        number = connection.execute(insert, row).lastrowid
        assert number is not None
        if os.path.lexists(os.path.join(self._root, str(number))):
            taken = max(int(name) for name in os.listdir(self._root) if name.isdigit())
            connection.execute("UPDATE snapshots SET number=? WHERE number=?", (taken + 1, number))
            connection.execute("UPDATE sqlite_sequence SET seq=? WHERE name='snapshots'", (taken + 1,))
            return taken + 1
        return number

    def forget(self, layer: str) -> None:
        if not self._database.readonly:
            self._database.execute("DELETE FROM snapshots WHERE layer=? AND form=?", (layer, self._form))

    def sync(self) -> None:
        """Make all folders of this boot durable: one syncfs, none when there is nothing new."""
        row = self._database.row("SELECT max(number) FROM snapshots WHERE NOT synced AND boot=?", (self.boot,))
        if row is None or row[0] is None:
            return
        from trimaran.linux import syscalls

        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            reached("before snapshots sync")
            syscalls.syncfs(fd)
            reached("snapshots synced")
        finally:
            os.close(fd)
        self._database.write_now(
            lambda connection: (
                connection.execute(
                    "UPDATE snapshots SET synced=1 WHERE NOT synced AND boot=? AND number<=?", (self.boot, row[0])
                ).rowcount
            )
        )
