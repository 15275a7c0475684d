"""The store's memory: two SQLite files seen as one database, read on the loop, written by one thread.

`store.db` (WAL, NORMAL) holds what a crash of the machine must not lose; `fast.db` (synchronous=OFF) what may be lost:
stat cache and last use. Law: nobody else opens them; a row is a promise about bytes that were durable before it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from trimaran.errors import Conflict, Corrupt, Denied, TrimaranError, Unavailable
from trimaran.store.disk import disk_errors
from trimaran.store.failpoints import reached
from trimaran.store.locks import guarded

T = TypeVar("T")

VERSION = 3
"""The format of `store.db` that this Trimaran writes; `schema.py` has the tables."""
FAST_VERSION = 1
MENDED = "store.db.mended"
"""What `salvage` made of a damaged `store.db`, whole, and not in its place yet."""
_APPLICATION = 0x7472696D  # "trim"
_BATCH = 256
_WAIT = 30.0
_LITTLE, _FEW = 128 << 10, 8
"""Bytes and inodes that SQLite takes to open both files."""


class Database:
    """Opened by `open_database`. `query` and `row` serve any thread; writes are batched by the one writer thread."""

    def __init__(self, folder: str, reader: sqlite3.Connection, *, readonly: bool) -> None:
        self.folder = folder
        self.readonly = readonly
        self._reader = reader
        self._reading = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False

    def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """All rows, as tuples; about 10 µs for a point read."""
        with mapped(self.folder), self._reading:
            return self._reader.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        """The first row, or None."""
        with mapped(self.folder), self._reading:
            return self._reader.execute(sql, parameters).fetchone()

    def submit(self, job: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run `job` in the writer's next transaction; done when that is committed. An error undoes this job alone."""
        if self.readonly:
            raise Denied(f'write store "{self.folder}": it was opened for reading')
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # who waits may be cancelled, what was submitted is written all the same
        with self._starting:
            if self._closed:
                raise Conflict(f'write store "{self.folder}": it was closed')
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_loop, name="trimaran-store", daemon=True)
                self._writer.start()
            self._jobs.put((job, future))
        return future

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """`submit` and wait for the commit."""
        return await asyncio.wrap_future(self.submit(job))

    def write_now(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """`submit` and wait, for disk functions; never called on the loop."""
        return self.submit(job).result()

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> Future[None]:
        """Submit one statement."""

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(sql, parameters)

        return self.submit(job)

    async def flush(self) -> None:
        """What was submitted is committed when this returns."""
        if self._writer is not None:
            await self.write(lambda _: None)

    def write_last(self, job: Callable[[sqlite3.Connection], object]) -> None:
        """`submit` just before `close`: where nothing else was written, without a thread and a connection for it."""
        with self._starting:
            idle = self._writer is None and not self._closed and not self.readonly
        if not idle:
            self.submit(job)
            return
        with mapped(self.folder), self._reading:
            self._reader.execute("PRAGMA query_only=0")
            try:
                self._reader.execute("BEGIN IMMEDIATE")
                job(self._reader)
                self._reader.execute("COMMIT")
            finally:
                if self._reader.in_transaction:
                    self._reader.execute("ROLLBACK")
                self._reader.execute("PRAGMA query_only=1")

    def close(self) -> None:
        """Commit what was submitted and close. Idempotent."""
        with self._starting:
            if self._closed:
                return
            self._closed = True
            writer = self._writer
            if writer is not None:
                self._jobs.put(None)
        if writer is not None:
            writer.join()
        with self._reading:
            self._reader.close()

    def _write_loop(self) -> None:
        connection: sqlite3.Connection | None = None
        running = True
        while running:
            batch = [self._jobs.get()]
            while batch[-1] is not None and len(batch) < _BATCH:
                try:
                    batch.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            running = batch[-1] is not None
            jobs = [job for job in batch if job is not None]
            if not jobs:
                break
            try:
                if connection is None:
                    with mapped(self.folder):
                        connection = connect(self.folder, readonly=False)
            except BaseException as error:  # noqa: BLE001 - whoever waits gets it
                for _, future in jobs:
                    future.set_exception(error)
                continue
            _run_batch(connection, jobs, self.folder)
        if connection is not None:
            connection.close()


def _run_batch(
    connection: sqlite3.Connection,
    jobs: list[tuple[Callable[[sqlite3.Connection], Any], Future[Any]]],
    folder: str,
) -> None:
    """One transaction for all; each job in a savepoint, so that its error is its own."""
    outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
    try:
        with mapped(folder), disk_errors(f'write store "{folder}"'):
            connection.execute("BEGIN IMMEDIATE")
            for job, future in jobs:
                outcomes.append((future, *_run_job(connection, job, folder)))
            reached("before rows")
            connection.execute("COMMIT")
            reached("rows")
    except BaseException as error:  # noqa: BLE001 - whoever waits gets it
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for _, future in jobs:
            future.set_exception(error)
        return
    for future, value, failure in outcomes:
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(value)


def _run_job(
    connection: sqlite3.Connection, job: Callable[[sqlite3.Connection], Any], folder: str
) -> tuple[Any, BaseException | None]:
    connection.execute("SAVEPOINT job")
    try:
        with mapped(folder):
            value = job(connection)
    except BaseException as error:
        if not connection.in_transaction:  # SQLite gave up the whole transaction (disk full)
            raise
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        return None, error
    connection.execute("RELEASE job")
    return value, None


def open_database(folder: str, *, readonly: bool) -> Database:
    """Open (and unless `readonly` make) the database in `folder`, which exists.

    Conflict when another version of Trimaran wrote it, Corrupt when it is no database, Denied when it can't be written.
    """
    with mapped(folder):
        reader = connect(folder, readonly=readonly)
        reader.execute("PRAGMA query_only=1")
    return Database(folder, reader, readonly=readonly)


def create_database(path: str) -> sqlite3.Connection:
    """A new, empty `store.db` at `path`, for whoever fills it and then gives it its name."""
    connection = _open(path)
    _create(path, connection)
    _upgrade(path, connection)
    return connection


def connect(folder: str, *, readonly: bool) -> sqlite3.Connection:
    """A connection to both files. While one process makes them nobody else has them open: SQLite needs that."""
    if readonly and not os.access(folder, os.W_OK):
        return _connect_frozen(folder)
    lock = os.path.join(folder, "open.lock")
    with disk_errors("open store"):
        if os.path.exists(os.path.join(folder, MENDED)):
            from trimaran.store.salvage import put_in_place

            with guarded(lock, exclusive=True):
                put_in_place(folder)
        with guarded(lock, exclusive=False):
            connection = _connect_made(folder, make=False)
        if connection is None:
            with guarded(lock, exclusive=True):
                connection = _connect_made(folder, make=True)
    assert connection is not None
    return connection


def _connect_frozen(folder: str) -> sqlite3.Connection:
    """WAL needs a writable folder; on a read-only file system nobody else writes either."""
    connection = _open(f"file:{_quoted(os.path.join(folder, 'store.db'))}?immutable=1", uri=True)
    try:
        _check_version(folder, connection)
        from trimaran.store.schema import FAST_SCHEMA

        connection.execute("ATTACH ':memory:' AS fast")
        connection.executescript(FAST_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_made(folder: str, *, make: bool) -> sqlite3.Connection | None:
    """None when one of the files has to be made first and `make` is false."""
    connection = _open(os.path.join(folder, "store.db"))
    try:
        format_found = connection.execute("PRAGMA main.user_version").fetchone()[0]
        if format_found < VERSION:
            if not make:
                connection.close()
                return None
            if format_found == 0:
                _create(folder, connection)
            _upgrade(folder, connection)
        _check_version(folder, connection)
        connection.execute("PRAGMA main.synchronous=NORMAL")
        connection.execute("PRAGMA secure_delete=OFF")  # some are built to write zeros over all that is deleted
        connection.execute("PRAGMA temp_store=MEMORY")  # savepoints would each make a file in /var/tmp
        if not _attach_fast(connection, os.path.join(folder, "fast.db"), make=make):
            connection.close()
            return None
    except BaseException:
        connection.close()
        raise
    return connection


def _open(path: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=_WAIT, isolation_level=None, check_same_thread=False, cached_statements=256, uri=uri
    )


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _attach_fast(connection: sqlite3.Connection, path: str, *, make: bool) -> bool:
    """Attach `fast.db`; with `make` one that is missing or broken is made anew, for it promised nothing."""
    try:
        if _attached(connection, path):
            return True
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        pass
    if not make:
        return False
    if any(row[1] == "fast" for row in connection.execute("PRAGMA database_list")):
        connection.execute("DETACH fast")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)
    from trimaran.store.schema import FAST_SCHEMA

    connection.execute("ATTACH ? AS fast", (path,))
    connection.execute("PRAGMA fast.journal_mode=WAL")
    connection.execute("PRAGMA fast.synchronous=OFF")
    connection.executescript(FAST_SCHEMA + f"PRAGMA fast.user_version={FAST_VERSION};")
    return True


def _attached(connection: sqlite3.Connection, path: str) -> bool:
    connection.execute("ATTACH ? AS fast", (path,))
    if connection.execute("PRAGMA fast.user_version").fetchone()[0] != FAST_VERSION:
        return False
    connection.execute("PRAGMA fast.synchronous=OFF")
    connection.execute("SELECT count(*) FROM (SELECT 1 FROM fast.used LIMIT 1)")
    return True


def _check_version(folder: str, connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA main.user_version").fetchone()[0]
    if version != VERSION:
        raise Conflict(
            f'open store "{folder}": it has format {version}, this Trimaran reads format {VERSION}',
            hint="use the Trimaran that wrote it, or point TRIMARAN_ROOT at another folder",
        )
    _check_owner(folder, connection)


def _check_owner(folder: str, connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA main.application_id").fetchone()[0] != _APPLICATION:
        raise Conflict(f'open store "{folder}": store.db belongs to another program')


def _create(folder: str, connection: sqlite3.Connection) -> None:
    if connection.execute("SELECT count(*) FROM main.sqlite_master").fetchone()[0]:
        raise Conflict(f'open store "{folder}": store.db belongs to another program')
    from trimaran.store.schema import SCHEMA

    connection.execute("PRAGMA main.journal_mode=WAL")
    connection.executescript(f"BEGIN;{SCHEMA};PRAGMA application_id={_APPLICATION};PRAGMA user_version=1;COMMIT;")


def _upgrade(folder: str, connection: sqlite3.Connection) -> None:
    """Format by format, each in one transaction. Who has the older one open keeps working: formats only add."""
    from trimaran.store.schema import LATER

    _check_owner(folder, connection)
    for older in range(connection.execute("PRAGMA main.user_version").fetchone()[0], VERSION):
        connection.executescript(f"BEGIN;{LATER[older]};PRAGMA user_version={older + 1};COMMIT;")


@contextmanager
def mapped(folder: str) -> Iterator[None]:
    """SQLite's errors in our words."""
    try:
        yield
    except sqlite3.Error as error:
        raise _in_our_words(folder, error) from error


def _in_our_words(folder: str, error: sqlite3.Error) -> TrimaranError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    message = f'use store "{folder}": {error}'
    cause = _cause(folder) if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR} else 0
    if cause:
        message = f'use store "{folder}": {os.strerror(cause).lower()}'
    if code == sqlite3.SQLITE_FULL or cause == errno.ENOSPC:
        return Unavailable(message, hint="free space on that disk, for example by `trimaran prune`")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM} or cause == errno.EROFS:
        return Denied(message, hint="check who owns that folder, or point TRIMARAN_ROOT at one you can write")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR}:
        return Unavailable(message, hint="another process holds the store, or its disk fails; try again")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return Corrupt(message, hint="`trimaran fsck --repair` saves what can still be read of it")
    return TrimaranError(message)


def marks(values: Iterable[object]) -> str:
    """`?,?,?` for as many values."""
    return ",".join("?" for _ in values)


def _cause(folder: str) -> int:
    """Why SQLite failed, where the file system tells: EROFS, ENOSPC, else 0. By then it has deleted its own files."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    if status.f_flag & os.ST_RDONLY:
        return errno.EROFS
    room = status.f_bavail * status.f_frsize >= _LITTLE and (status.f_ffree >= _FEW or not status.f_files)
    return 0 if room else errno.ENOSPC
