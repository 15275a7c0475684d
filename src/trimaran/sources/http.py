"""`http(s)://…`: one file as one layer, fetched again only when the server has something new (reference §4.1, §4.2).

What was answered is remembered with the layer it gave: its ETag or time is what the next build asks by. A file pinned
by its checksum is asked for once. Checksums are of the bytes that are used, as they were written (T39).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Corrupt, Unavailable, UsageError
from trimaran.events import Progress
from trimaran.graph.ops import SourceOp
from trimaran.oci import documents
from trimaran.platforms import Platform
from trimaran.registry.http import Client, Response
from trimaran.registry.retry import retrying
from trimaran.sources.download import LIMIT, Address, answered, bounded, file_name
from trimaran.sources.lock import HTTP, Lock, http_name
from trimaran.sources.offline import missing
from trimaran.store.entries import FILE, Entry, EntryList
from trimaran.store.folder import Folder, FolderFile
from trimaran.store.layers import LayerId
from trimaran.store.packing import unpack_json
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store

_DEFAULT_MODE = 0o600
_MAX_ID = (1 << 32) - 2
_KNOWN = ("http.checksum", "http.filename", "http.perm", "http.uid", "http.gid", "http.authheadersecret")
_BODY = "body"


class HttpRoot(msgspec.Struct, frozen=True):
    result: Rootfs
    served: bool
    cache_keys: tuple[str, ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a source op asks for."""

    address: Address
    checksum: Digest | None
    name: str
    perm: int
    """0: nothing was asked for."""
    uid: int
    gid: int
    header_secret: str = ""

    @classmethod
    def of(cls, op: SourceOp) -> Wanted:
        """UsageError for an op that is wrong or that asks for what is not known here."""
        attrs = dict(op.attrs)
        for name in sorted(attrs):
            if name not in _KNOWN:
                raise UsageError(
                    f"fetch {op.scheme} source: unknown attribute {name}", hint=f"known: {', '.join(_KNOWN)}"
                )
        checksum = attrs.get("http.checksum", "")
        return cls(
            address=Address.parse(op.identifier),
            checksum=Digest.parse(checksum) if checksum else None,
            name=attrs.get("http.filename", ""),
            perm=_number(attrs, "http.perm", 0o7777),
            uid=_number(attrs, "http.uid", _MAX_ID),
            gid=_number(attrs, "http.gid", _MAX_ID),
            header_secret=attrs.get("http.authheadersecret", ""),
        )

    @property
    def mode(self) -> int:
        return self.perm or _DEFAULT_MODE

    @property
    def what(self) -> str:
        return f"download {self.address.url.redacted}"

    @property
    def selector(self) -> str:
        """Where and as what: credentials are no part of it, but whether there are some is."""
        form = [str(self.address.url), self.name, self.mode, self.uid, self.gid, bool(self.address.authorization)]
        return Digest.of(msgspec.json.encode(form))

    def cache_key(self, known: Remembered) -> str:
        """BuildKit's (source/http). Where a checksum was asked for, nothing counts that the server said."""
        from email.utils import formatdate

        by_url = file_name(self.name, "", self.address.url)
        fields: dict[str, object] = {
            "Filename": by_url if self.checksum else known.name or by_url,
            "Perm": self.perm,
            "UID": self.uid,
            "GID": self.gid,
            "Checksum": str(self.checksum or known.digest),
        }
        time = _time(known.modified) // 1_000_000_000
        details = {
            "LastModTime": formatdate(time, usegmt=True) if time and not self.checksum else "",
            "AuthHeaderSecret": self.header_secret,
        }
        return Digest.of(documents.encode(fields | {name: value for name, value in details.items() if value}))


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What the server said when it gave the layer."""

    layer: str
    digest: str
    etag: str = ""
    modified: str = ""
    name: str = ""
    """What the file was called."""

    def condition(self) -> list[tuple[str, str]]:
        if self.etag:
            return [("If-None-Match", self.etag)]
        return [("If-Modified-Since", self.modified)] if self.modified else []

    def still_holds(self, response: Response) -> bool:
        """304; or 200 by a server that knows no conditions, but says the same strong ETag."""
        if response.status == 304:
            return True
        return bool(self.etag) and not self.etag.startswith("W/") and response.headers.get("etag", "") == self.etag


class HttpSource:
    def __init__(
        self,
        store: Store,
        client: Client,
        lock: Lock | None = None,
        *,
        offline: bool = False,
        limit: int = LIMIT,
    ) -> None:
        self._store = store
        self._client = client
        self._lock = lock or Lock()
        self._offline = offline
        self._limit = limit

    async def fetch(self, op: SourceOp, platform: Platform | None, progress: Progress) -> HttpRoot:
        wanted = Wanted.of(op)
        if wanted.checksum is not None:
            found, served = await self._fetch(wanted, progress)
        else:
            name = http_name(wanted.address.url)
            locked = self._lock.value(HTTP, name)
            pinned = msgspec.structs.replace(wanted, checksum=Digest.parse(locked)) if locked else wanted
            found, served = await self._fetch(pinned, progress)
            self._lock.note(HTTP, name, found.digest)
        return HttpRoot(Rootfs((LayerId(found.layer),)), served, (wanted.cache_key(found),))

    async def _fetch(self, wanted: Wanted, progress: Progress) -> tuple[Remembered, bool]:
        """The file, and whether it was here."""
        known = self._known(wanted)
        if known is not None and (wanted.checksum is not None or self._offline):
            return known, True
        if self._offline:
            raise missing(wanted.what)
        return await retrying(lambda: self._ask(wanted, known, progress))

    def _known(self, wanted: Wanted) -> Remembered | None:
        """What was given before and is still here: of these very bytes, when a checksum says which."""
        text = self._store.records.memo(_stack(wanted.checksum), wanted.selector)
        if text is None:
            return None
        try:
            known = unpack_json(text, Remembered)
        except msgspec.MsgspecError:
            return None
        return known if self._store.layers.present(LayerId(known.layer)) else None

    async def _ask(self, wanted: Wanted, known: Remembered | None, progress: Progress) -> tuple[Remembered, bool]:
        condition = known.condition() if known is not None else []
        async with answered(self._client, wanted.address, condition) as response:
            if known is not None and known.still_holds(response):
                return known, True
            if response.status == 304:
                raise Corrupt(f"{wanted.what}: the server says 304 to a question without a condition")
            made = await self._take(wanted, response, progress)
        text = msgspec.json.encode(made, enc_hook=str).decode()
        self._store.records.remember(_stack(None), wanted.selector, text)
        for checksum in {made.digest, wanted.checksum or made.digest}:
            self._store.records.remember(_stack(Digest(checksum)), wanted.selector, text)
        await self._store.database.flush()
        return made, False

    async def _take(self, wanted: Wanted, response: Response, progress: Progress) -> Remembered:
        folder = Folder(self._store.snapshots.folders.temporary())
        size, digest = await self._write(wanted, response, folder, progress)
        modified = response.headers.get("last-modified", "")
        entry = Entry(
            file_name(wanted.name, response.headers.get("content-disposition", ""), wanted.address.url),
            FILE,
            wanted.mode,
            wanted.uid,
            wanted.gid,
            _time(modified),
            size,
            digest=digest,
        )
        layer = await self._store.layers.add(EntryList.of([entry]), {entry.path: FolderFile(folder, _BODY)})
        await self._store.layers.folder(layer)
        return Remembered(layer, digest, response.headers.get("etag", ""), modified, entry.path)

    async def _write(
        self, wanted: Wanted, response: Response, folder: Folder, progress: Progress
    ) -> tuple[int, Digest]:
        """The body as a file; Corrupt when it is not what the checksum promises."""
        hashers = {"sha256": sha256()}
        if wanted.checksum is not None:
            hashers.setdefault(wanted.checksum.algorithm, wanted.checksum.hasher())
        size = 0
        fd = os.open(_BODY, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder.fd)
        try:
            with progress.task(f"downloading {wanted.address.url.redacted}", response.length or 0) as task:
                async for data in bounded(response, wanted.what, self._limit):
                    await aio.in_thread(_append, fd, data, tuple(hashers.values()))
                    size += len(data)
                    task.add(len(data))
        finally:
            os.close(fd)
        if wanted.checksum is not None:
            got = Digest.of_hash(hashers[wanted.checksum.algorithm])
            if got != wanted.checksum:
                raise Corrupt(
                    f"{wanted.what}: digest mismatch {got}: {wanted.checksum}",
                    hint="the file changed, or the checksum is another file's",
                )
        return size, Digest.of_hash(hashers["sha256"])


def _stack(checksum: Digest | None) -> str:
    return f"http:{checksum or ''}"


def _append(cancel: Cancel, fd: int, data: bytes, hashers: Sequence[object]) -> None:
    cancel.check()
    for hasher in hashers:
        hasher.update(data)  # type: ignore[attr-defined]
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise Unavailable(f"write download: {(error.strerror or str(error)).lower()}") from error


def _number(attrs: dict[str, str], name: str, most: int) -> int:
    """Decimal, 0x… or 0…, as Go reads it."""
    text = attrs.get(name, "")
    try:
        is_octal = text.startswith("0") and text.isdecimal()
        value = int(text or "0", 8 if is_octal else 0)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise UsageError(f"fetch http source: {name} {text!r} is no number from 0 to {most}")
    return value


def _time(modified: str) -> int:
    """Nanoseconds since the epoch of a Last-Modified header; 0 without one."""
    if not modified:
        return 0
    from email.utils import parsedate_to_datetime

    try:
        return max(0, int(parsedate_to_datetime(modified).timestamp())) * 1_000_000_000
    except (ValueError, TypeError, OverflowError):
        return 0
