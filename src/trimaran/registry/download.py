"""Reading a blob: verified while it streams, taken up where it broke off (Range) after a reset."""

from __future__ import annotations

from contextlib import AsyncExitStack

from trimaran import events
from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.oci import media_types
from trimaran.oci.backoff import Budget
from trimaran.oci.blobs import CHUNK
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.auth import Scope
from trimaran.registry.endpoint import Endpoint
from trimaran.registry.errors import RegistryUnavailable
from trimaran.registry.http import Response


class Download:
    """A `Reader`; use `open` first and `close` last. The read that reaches the end raises Corrupt on wrong bytes."""

    def __init__(
        self, endpoint: Endpoint, path: str, descriptor: Descriptor, scopes: tuple[Scope, ...], sink: events.Sink
    ) -> None:
        self._endpoint = endpoint
        self._path = path
        self._descriptor = descriptor
        self._scopes = scopes
        self._sink = sink
        self._hasher = descriptor.digest.hasher()
        self._offset = 0
        self._budget = Budget(seconds=600)
        self._stack = AsyncExitStack()
        self._response: Response | None = None
        self._verified = False

    async def open(self) -> None:
        """Ask for the bytes, once: who opens decides whether another host or another try comes next."""
        await self._ask()

    async def _reopen(self, error: RegistryUnavailable) -> None:
        while True:
            await self._budget.wait(error)
            try:
                await self._ask()
                return
            except RegistryUnavailable as again:
                error = again

    async def _ask(self) -> None:
        await self._stack.aclose()
        url = await self._endpoint.url(self._path)
        headers = [("Range", f"bytes={self._offset}-")] if self._offset else []
        if media_types.is_manifest(self._descriptor.media_type) or media_types.is_index(self._descriptor.media_type):
            headers.append(("Accept", self._descriptor.media_type))
        request = self._endpoint.request(
            "GET", url, scopes=self._scopes, headers=headers, accept=(200, 206), sink=self._sink
        )
        response = await self._stack.enter_async_context(request)
        self._response = response
        skip = 0
        if response.status == 200:
            skip = self._offset  # no ranges there: the bytes we have come again
        elif not response.headers.get("content-range", "").startswith(f"bytes {self._offset}-"):
            raise Corrupt(f"read {self._descriptor.digest}: {url.netloc} sent another range than asked for")
        length = response.length
        if length is not None and length - skip + self._offset != self._descriptor.size:
            raise Corrupt(
                f"read {self._descriptor.digest}: {url.netloc} has {length - skip + self._offset} bytes, "
                f"not {self._descriptor.size}"
            )
        while skip:
            chunk = await response.read(min(skip, CHUNK))
            if not chunk:
                raise RegistryUnavailable(f"read {self._descriptor.digest}: body broke off")
            skip -= len(chunk)

    async def read(self, size: int = CHUNK) -> bytes:
        while True:
            assert self._response is not None
            try:
                chunk = await self._response.read(size)
                if chunk or self._offset == self._descriptor.size:
                    break
                raise RegistryUnavailable(f"read {self._descriptor.digest}: broke off")  # noqa: TRY301 - as any break
            except RegistryUnavailable as error:
                await self._reopen(error)
        if chunk:
            self._offset += len(chunk)
            self._hasher.update(chunk)
            if self._offset > self._descriptor.size:
                raise Corrupt(f"read {self._descriptor.digest}: more than its {self._descriptor.size} bytes")
            self._budget.renew()
        elif not self._verified:
            if Digest.of_hash(self._hasher) != self._descriptor.digest:
                raise Corrupt(f"read {self._descriptor.digest}: the registry sent other bytes")
            self._verified = True
        return chunk

    async def close(self) -> None:
        await self._stack.aclose()
