"""Blobs by digest on local disk: `blobs/<algorithm>/<hex>`, as an OCI layout names them.

Law: temp file → verify digest and size → fsync → rename → fsync folder → row. A row without its file is a miss, a file
without its row is garbage, and nothing is given out unverified.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound, Unavailable
from trimaran.oci.blobs import CHUNK
from trimaran.oci.descriptor import Descriptor
from trimaran.store.ceiling import Ceiling
from trimaran.store.database import Database
from trimaran.store.disk import disk_errors
from trimaran.store.failpoints import reached
from trimaran.store.locks import guarded
from trimaran.store.pins import Pins
from trimaran.store.spare import Spare

_INLINE = 64 << 10
"""Up to this many bytes are read and written on the loop: a hop to a thread costs more."""


class Content:
    """The store's member of `oci.blobs.Blobs`."""

    def __init__(self, root: str, database: Database, pins: Pins, ceiling: Ceiling) -> None:
        self._root = os.path.join(root, "blobs")
        self._seen: set[Digest] = set()
        self._collector = os.path.join(root, "gc.lock")
        self._database = database
        self._pins = pins
        self.ceiling = ceiling
        self.written: set[Digest] = set()
        """Blobs whose bytes this process has written, hashed and synced itself."""
        self.spare = Spare(database, pins, partial(guarded, self._collector, exclusive=True), self._remove)
        ceiling.give_way = self.spare.give_way

    def __repr__(self) -> str:
        return f"Content({self._root!r})"

    def path(self, digest: Digest) -> str:
        """Where the blob is or would be; says nothing about whether it is there."""
        return os.path.join(self._root, digest.algorithm, digest.hex)

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob that is here, None when it is not. Pins it. 15 µs."""
        self._pins_if_writable(digest)
        row = self._database.row("SELECT size, condemned FROM blobs WHERE digest=?", (digest,))
        if row is None or (row[1] and digest not in self._seen):
            return None
        self._seen.add(digest)  # a collector that condemns it from now on sees our pin and takes that back
        try:
            status = os.stat(self.path(digest), follow_symlinks=False)
        except OSError:
            status = None
        if status is None or status.st_size != row[0]:
            self.forget(digest)
            return None
        return status.st_size

    def _pins_if_writable(self, digest: Digest) -> None:
        if not self._database.readonly:
            self._pins.pin(f"blob:{digest}")

    async def has(self, descriptor: Descriptor) -> bool:
        return self.size(descriptor.digest) == descriptor.size

    def open(self, digest: Digest) -> int:
        """A new read-only descriptor, for disk functions, which must verify what they read. NotFound."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise NotFound(f"read blob {digest}: not in the store") from error

    def forget(self, digest: Digest) -> None:
        """Drop a blob found missing or broken: whoever wants it fetches or makes it again."""
        self.written.discard(digest)
        if self._database.readonly:
            return
        self._remove(digest)

        def job(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM blobs WHERE digest=?", (digest,))
            connection.execute("DELETE FROM layer_blobs WHERE digest=?", (digest,))

        self._database.submit(job)

    def _remove(self, digest: Digest) -> int:
        """The file alone; bytes that it took."""
        self.written.discard(digest)
        self._seen.discard(digest)
        try:
            size = os.stat(self.path(digest), follow_symlinks=False).st_blocks * 512
            os.unlink(self.path(digest))
        except OSError:
            return 0
        return size

    @asynccontextmanager
    async def read(self, descriptor: Descriptor) -> AsyncIterator[BlobReader]:
        if self.size(descriptor.digest) is None:
            raise NotFound(f"read blob {descriptor.digest}: not in the store")
        fd = self.open(descriptor.digest)
        try:
            yield BlobReader(self, fd, descriptor)
        finally:
            os.close(fd)

    @asynccontextmanager
    async def ingest(self, media_type: str, expected: Descriptor | None = None) -> AsyncIterator[BlobSink]:
        skip = expected is not None and await self.has(expected)
        with self.writer(media_type, expected, keep=not skip) as writer:
            yield BlobSink(writer, present=skip)

    @contextmanager
    def writer(
        self, media_type: str, expected: Descriptor | None = None, *, keep: bool = True, spare: bool = False
    ) -> Iterator[BlobWriter]:
        """`ingest` for disk functions. With `keep` false bytes are only verified: the blob is here already.

        `spare`: it may be told to give up (`spare.Writing`)."""
        writer = BlobWriter(self, media_type, expected, keep=keep, spare=spare)
        try:
            yield writer
        finally:
            writer.close()

    def put(self, data: bytes, media_type: str) -> Descriptor:
        """Keep a small document, for disk functions. One that is here is looked at: here is what it has to be."""
        digest = Digest.of(data)
        if self.size(digest) == len(data) and self._is(digest, data):
            return Descriptor(media_type=media_type, digest=digest, size=len(data))
        with self.writer(media_type) as writer:
            writer.write(data)
            return writer.commit()

    def _is(self, digest: Digest, data: bytes) -> bool:
        """Whether the file has these bytes; if not, it is forgotten."""
        with suppress(OSError), open(self.path(digest), "rb") as file:
            if file.read(len(data) + 1) == data:
                return True
        self.forget(digest)
        return False

    def collector_waits(self) -> AbstractContextManager[None]:
        """Held between giving bytes their name and inserting their row: the garbage collector does not look then."""
        return guarded(self._collector, exclusive=False)

    def _temporary(self) -> str:
        return self._pins.temporary("blob")

    def _place(self, temporary: str, digest: Digest) -> None:
        """Rename a finished, synced temp file to its name, for good."""
        path = self.path(digest)
        folder = os.path.dirname(path)
        reached("before blob rename")
        try:
            os.rename(temporary, path)
        except FileNotFoundError:
            os.makedirs(folder, 0o700, exist_ok=True)
            os.rename(temporary, path)
        reached("blob renamed")
        _sync_folder(folder)

    def _insert(self, descriptor: Descriptor) -> None:
        row = (descriptor.digest, descriptor.size, descriptor.media_type, time.time_ns())
        self._database.execute(
            "INSERT INTO blobs(digest, size, media_type, created) VALUES(?,?,?,?)"
            " ON CONFLICT(digest) DO UPDATE SET size=excluded.size, condemned=0",
            row,
        ).result()
        self._seen.add(descriptor.digest)


class BlobReader:
    """Verified reading: the read that gives the last byte raises Corrupt instead when digest or size are wrong."""

    def __init__(self, content: Content, fd: int, descriptor: Descriptor) -> None:
        self._content = content
        self._fd = fd
        self._descriptor = descriptor
        self._hasher = descriptor.digest.hasher()
        self._size = os.fstat(fd).st_size
        self._done = 0

    async def read(self, size: int = CHUNK) -> bytes:
        if self._size <= _INLINE:
            return self._read(Cancel(), size)
        return await aio.in_thread(self._read, size)

    async def copy_to(self, fd: int, count: Callable[[int], object]) -> None:
        """All of it to a file or pipe: see `oci.blobs.copy_to`."""
        await aio.in_thread(self._copy_to, fd, count)

    def _copy_to(self, cancel: Cancel, fd: int, count: Callable[[int], object]) -> None:
        known = self._descriptor.digest in self._content.written and self._size == self._descriptor.size
        if known and self._send(cancel, fd, count):
            return
        while data := self._read(cancel, CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            count(len(data))

    def _send(self, cancel: Cancel, fd: int, count: Callable[[int], object]) -> bool:
        """Let the kernel copy; False, with nothing done, for what cannot be sent to."""
        while self._done < self._size:
            cancel.check()
            try:
                sent = os.sendfile(fd, self._fd, self._done, min(CHUNK, self._size - self._done))
            except OSError:
                if self._done:
                    raise
                return False
            if not sent:
                raise Corrupt(f"read blob {self._descriptor.digest}: it was cut off while it was read")
            self._done += sent
            count(sent)
        return True

    def _read(self, cancel: Cancel, size: int) -> bytes:
        cancel.check()
        digest, expected = self._descriptor.digest, self._descriptor.size
        if self._size != expected:  # the descriptor's fault: the store's own row and file agree
            raise Corrupt(f"read blob {digest}: it has {self._size} bytes instead of {expected}")
        data = os.read(self._fd, size)
        self._hasher.update(data)
        self._done += len(data)
        if (self._done >= expected or not data) and self._hasher.hexdigest() != digest.hex:
            self._content.forget(digest)
            raise Corrupt(f"read blob {digest}: its bytes changed on disk", hint="run the same command again")
        return data


class BlobSink:
    """`BlobWriter` for the loop."""

    def __init__(self, writer: BlobWriter, *, present: bool) -> None:
        self._writer = writer
        self.present = present
        """Whether the bytes are here already: see `oci.blobs.is_present`."""

    async def write(self, data: bytes) -> None:
        if len(data) <= _INLINE and self._writer.has_room(len(data)):
            self._writer.write(data)
        else:
            await aio.in_thread(self._write, data)

    def _write(self, cancel: Cancel, data: bytes) -> None:
        cancel.check()
        self._writer.write(data)

    async def commit(self, expected: Descriptor | None = None) -> Descriptor:
        return await aio.in_thread(self._commit, expected)

    def _commit(self, cancel: Cancel, expected: Descriptor | None) -> Descriptor:
        cancel.check()
        return self._writer.commit(expected)


class BlobWriter:
    """Takes one blob's bytes in a disk thread. `size` and `digest` tell what was written so far."""

    def __init__(
        self, content: Content, media_type: str, expected: Descriptor | None, *, keep: bool, spare: bool
    ) -> None:
        self._content = content
        self._media_type = media_type
        self._expected = expected
        self._hasher = (expected.digest if expected else Digest("sha256:")).hasher()
        self._keep = keep
        self._fd: int | None = None
        self._path = ""
        self._room = 0
        self._spare = spare
        self._given_up = False
        self.size = 0

    @property
    def digest(self) -> Digest:
        return Digest.of_hash(self._hasher)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Corrupt as soon as there are more bytes than promised; Unavailable when the disk is full."""
        self.size += len(data)
        if self._expected is not None and self.size > self._expected.size:
            raise Corrupt(f"write blob {self._expected.digest}: more than the promised {self._expected.size} bytes")
        self._hasher.update(data)
        if not self._keep:
            return
        self._check()
        self._make_room(len(data))
        with disk_errors("write blob"):
            fd = self._open()
            reached("before blob write")
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        reached("blob written")

    def has_room(self, size: int) -> bool:
        """Whether `write` of so many bytes has not to wait for others to be evicted."""
        return not self._keep or self._room >= size or self._content.ceiling.covers(self._wanted(size))

    def _make_room(self, size: int) -> None:
        if self._room < size:
            self._content.ceiling.ask(Cancel(), self._wanted(size), "write blob", spare=self._spare)
            self._room += self._wanted(size)
        self._room -= size

    def _wanted(self, size: int) -> int:
        """The whole blob at first, where its size is known."""
        return max(size, self._expected.size if self._expected and not self._room else 0)

    def _open(self) -> int:
        if self._fd is None:
            self._path = self._content._temporary()  # noqa: SLF001 - one machine in two classes
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o600)
            if self._spare:
                self._content.spare.begin(self)
        return self._fd

    def give_up(self) -> int:
        """See `spare.Writing`."""
        self._given_up = True
        assert self._fd is not None
        size = os.fstat(self._fd).st_blocks * 512
        os.ftruncate(self._fd, 0)
        return size

    def _check(self) -> None:
        if self._given_up:
            raise Unavailable(
                "write blob: the cache limit left no room for it: what the build cannot do without goes first"
            )

    def commit(self, expected: Descriptor | None = None) -> Descriptor:
        """Verify, make durable, insert the row; the descriptor of what was written."""
        if not self._keep and not self.size and self._expected is not None:
            return self._expected
        digest = self.digest
        for promise in (expected, self._expected):
            if promise is not None and (promise.digest != digest or promise.size != self.size):
                raise Corrupt(
                    f"write blob {promise.digest}: got {self.size} bytes with digest {digest},"
                    f" {promise.size} were promised"
                )
        descriptor = Descriptor(media_type=self._media_type, digest=digest, size=self.size)
        content = self._content
        content._pins_if_writable(digest)  # noqa: SLF001
        if not self._keep or content.size(digest) == self.size:
            return descriptor
        with disk_errors("write blob"):
            fd = self._open()
            content.spare.end(self)
            self._check()
            reached("before blob sync")
            os.fsync(fd)
            reached("blob synced")
            with content.collector_waits():
                content._place(self._path, digest)  # noqa: SLF001
                self._path = ""
                reached("blob placed")
                content._insert(descriptor)  # noqa: SLF001
        content.written.add(digest)
        reached("blob row")
        return descriptor

    def close(self) -> None:
        """Remove what was not committed."""
        self._content.spare.end(self)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._path:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            self._path = ""


def _sync_folder(path: str) -> None:
    reached("before folder sync")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
