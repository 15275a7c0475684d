"""Writing a blob: POST opens an upload, PATCH or PUT streams it, PUT with the digest closes it (distribution-spec,
"Pushing Blobs").

Known size and digest: one streamed PUT. Unknown: one streamed PATCH, then PUT. An upload that broke is remembered by
its repository, so that the next `ingest` of the same blob asks how far it came and sends only the rest.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from trimaran import events
from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.oci.blobs import CHUNK
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.auth import Scope
from trimaran.registry.endpoint import Endpoint
from trimaran.registry.errors import RegistryUnavailable
from trimaran.registry.http import EarlyResponse, Exchange, Headers, Response
from trimaran.registry.urls import Url

_OCTETS = ("Content-Type", "application/octet-stream")
#: Broken uploads older than this are not taken up again, in seconds.
_MEMORY = 600.0


class Broken(msgspec.Struct):
    """An upload that broke off: where to ask how far it came."""

    url: Url
    since: float


class Present:
    """The `Sink` of a blob that is at the registry already (mounted): nothing need be written to it."""

    present = True

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor

    async def write(self, data: bytes) -> None:
        """Nothing is sent."""

    async def commit(self, expected: Descriptor | None = None) -> Descriptor:
        check_expected(self._descriptor, expected)
        return self._descriptor


def check_expected(found: Descriptor, expected: Descriptor | None) -> None:
    """Corrupt when `expected` names other bytes than `found`."""
    if expected is not None and (expected.digest, expected.size) != (found.digest, found.size):
        raise Corrupt(
            f"push {expected.digest}: got {found.size} bytes of {found.digest}, not its {expected.size} bytes"
        )


class Upload:
    """A `Sink` that streams to one upload session. `open` first; `close` last, whatever happened."""

    def __init__(
        self,
        endpoint: Endpoint,
        start: Url,
        media_type: str,
        expected: Descriptor | None,
        *,
        scopes: tuple[Scope, ...],
        sink: events.Sink,
    ) -> None:
        self._endpoint = endpoint
        self._location = start
        self._media_type = media_type
        self._expected = expected
        self._scopes = scopes
        self._sink = sink
        self._hasher: Any = (expected.digest if expected else Digest.of(b"")).hasher()
        self._size = 0
        self._resumed = 0
        self._stack = AsyncExitStack()
        self._exchange: Exchange | None = None
        self._held: memoryview | None = None
        self._committed = False
        self._dropped = False

    async def resume(self) -> None:
        """Ask how far an earlier try came; the bytes up to there are taken from the writer but not sent again."""
        async with self._endpoint.request(
            "GET", self._location, scopes=self._scopes, accept=(204,), sink=self._sink
        ) as response:
            self._location = self._next(response)
            self._resumed = _received(response)

    @property
    def location(self) -> Url:
        return self._location

    def _next(self, response: Response) -> Url:
        return next_location(self._location, response)

    async def write(self, data: bytes) -> None:
        self._hasher.update(data)
        start = self._size
        self._size += len(data)
        if self._expected is not None and self._size > self._expected.size:
            raise Corrupt(f"push {self._expected.digest}: more than its {self._expected.size} bytes")
        view = memoryview(data)[max(0, self._resumed - start) :]
        if not view:
            return
        if self._expected is not None and self._size == self._expected.size:
            self._held = view  # a PUT is complete with its last byte: that is for `commit` to send
            return
        await self._send(view)

    async def _send(self, view: memoryview) -> None:
        if self._exchange is None:
            self._exchange = await self._begin()
        try:
            await self._exchange.send(view)
        except EarlyResponse as early:
            await self._check(self._exchange.method, early.response)
            raise RegistryUnavailable(f"{self._exchange.what}: answered before the end of the body") from None

    async def _begin(self) -> Exchange:
        """Start the streaming request: PUT when the blob is known and whole, else PATCH."""
        expected = self._expected
        headers: Headers = [_OCTETS]
        if expected is not None and not self._resumed:
            url = self._location.with_query({"digest": expected.digest})
            request = self._endpoint.upload(
                "PUT", url, expected.size, scopes=self._scopes, headers=headers, sink=self._sink
            )
        else:
            length = expected.size - self._resumed if expected is not None else None
            if length is not None:
                headers.append(("Content-Range", f"{self._resumed}-{self._resumed + length - 1}"))
            request = self._endpoint.upload(
                "PATCH", self._location, length, scopes=self._scopes, headers=headers, sink=self._sink
            )
        return await self._stack.enter_async_context(request)

    async def commit(self, expected: Descriptor | None = None) -> Descriptor:
        digest = Digest.of_hash(self._hasher)
        found = Descriptor(media_type=self._media_type, digest=digest, size=self._size)
        check_expected(found, self._expected)
        check_expected(found, expected)
        if self._held is not None:
            await self._send(self._held)
        exchange = self._exchange
        if exchange is not None:
            response = await exchange.finish()
            await self._check(exchange.method, response)
            await response.read_all(CHUNK)
            await self._stack.aclose()
            if exchange.method == "PUT":
                self._committed = True
                return found
            self._location = self._next(response)
        url = self._location.with_query({"digest": digest})
        async with self._endpoint.request(
            "PUT", url, scopes=self._scopes, headers=[_OCTETS], accept=(201, 202, 204), sink=self._sink
        ) as response:
            await response.read_all(CHUNK)
        self._committed = True
        return found

    async def _check(self, method: str, response: Response) -> None:
        if response.status in (200, 201, 202, 204):
            return
        error = await self._endpoint.refusal(method, self._location, response)
        words = error.answer.codes if error.answer is not None else ()
        if response.status == 401:
            await self._endpoint.expired(self._scopes)
            raise self._again(f"{error}: the token expired on the way") from None
        if response.status in (404, 416) or "BLOB_UPLOAD_INVALID" in words:
            self._dropped = True
            raise self._again(f"{error}: the registry dropped the upload") from None
        raise error

    @staticmethod
    def _again(message: str) -> RegistryUnavailable:
        error = RegistryUnavailable(message)
        error.retry_after = 0.0
        return error

    async def close(self) -> Broken | None:
        """End the session; what is needed to take it up again when it was not committed."""
        await self._stack.aclose()
        if self._committed or self._dropped or self._expected is None:
            return None
        return Broken(self._location, time.monotonic())


def next_location(url: Url, response: Response) -> Url:
    """Where an upload goes on: what `url`'s answer says, `url` when it says nothing. RegistryDenied."""
    from trimaran.registry import crossing

    location = response.headers.get("location", "")
    return crossing.follow(url, location, "upload to the location") if location else url


def usable(broken: Broken | None) -> bool:
    return broken is not None and time.monotonic() - broken.since < _MEMORY


def _received(response: Response) -> int:
    """Bytes the registry has by its `Range: 0-LAST` header; `0-0` is none (an upload just opened has it too)."""
    first, _, last = response.headers.get("range", "").removeprefix("bytes=").partition("-")
    if first != "0" or not last.isdecimal() or last == "0":
        return 0
    return int(last) + 1
