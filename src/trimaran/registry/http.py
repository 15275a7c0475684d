"""HTTP/1.1 over asyncio: h11 for the protocol, a pool of idle connections, bodies streamed past h11 where the framing
is known (its buffers would copy every byte twice).

Law: a connection goes back to the pool only after a whole exchange; anything else closes it. Nothing here retries,
authenticates or follows a redirect. What a peer does wrong is `RegistryUnavailable`, never a foreign exception.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self

import h11
import msgspec

from trimaran import __version__
from trimaran.errors import Corrupt, UsageError
from trimaran.registry import proxy, sockets
from trimaran.registry.errors import PROXY_ASKS, PROXY_LOGIN, RETRYABLE, ConnectFailed, NotHttp, RegistryUnavailable
from trimaran.registry.sockets import RECEIVE, ByteStream
from trimaran.registry.urls import Url
from trimaran.settings import Keypair

USER_AGENT = f"trimaran/{__version__}"
#: Idle connections kept per server, and for how long (servers close theirs after 60 s and more).
IDLE_COUNT = 8
IDLE_SECONDS = 30.0
#: The most bytes an answer's head may have.
HEAD_LIMIT = 64 << 10

Headers = list[tuple[str, str]]


class Trust(msgspec.Struct, frozen=True):
    """What a TLS connection trusts besides the system's store, and the certificates it shows."""

    insecure: bool = False
    ca: tuple[str, ...] = ()
    keypairs: tuple[Keypair, ...] = ()


#: The system's store and nothing else.
SYSTEM = Trust()


class Response:
    """Status, headers (names in lower case) and a body that is read once; made by `Exchange.finish`."""

    __slots__ = ("_connection", "_exchange", "_left", "_rest", "headers", "reason", "status")

    def __init__(self, exchange: Exchange, event: h11.Response, *, bodyless: bool) -> None:
        self.status = event.status_code
        self.reason = event.reason.decode("ascii", "replace")
        self.headers: dict[str, str] = {}
        for key, value in event.headers:
            name, text = key.decode("ascii").lower(), value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {text}" if name in self.headers else text
        self._exchange = exchange
        self._connection = exchange.connection
        self._rest = b""
        #: Bytes still to come; None when only h11 can tell (chunked, or until the connection closes).
        self._left: int | None = 0 if bodyless else self._content_length()
        if self._left is not None:
            self._rest = self._connection.trailing_data[0]
        self._done_if_empty()

    def _content_length(self) -> int | None:
        if "transfer-encoding" in self.headers:
            return None
        text = self.headers.get("content-length")
        return int(text) if text is not None else None  # h11 has checked that it is a number

    def _done_if_empty(self) -> None:
        if self._left == 0:
            keep = not self._rest and self.headers.get("connection", "").lower() != "close"
            self._exchange.received(reusable=keep and self._connection.their_http_version == b"1.1")

    @property
    def length(self) -> int | None:
        """Bytes of the body that are still to come, if known."""
        return self._left

    async def read(self, size: int = RECEIVE) -> bytes:
        """Up to `size` bytes; b"" at the end. RegistryUnavailable when the body breaks off."""
        if self._left == 0:
            return b""
        if self._left is None:
            return await self._read_framed()
        if self._rest:
            chunk, self._rest = self._rest[: min(size, self._left)], self._rest[min(size, self._left) :]
        else:
            chunk = await self._exchange.stream.receive(min(size, self._left))
            if not chunk:
                raise RegistryUnavailable(f"{self._exchange.what}: body broke off, {self._left} bytes missing")
        self._left -= len(chunk)
        self._done_if_empty()
        return chunk

    async def _read_framed(self) -> bytes:
        while True:
            event = await self._exchange.next_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                self._left = 0
                self._rest = self._connection.trailing_data[0]
                self._done_if_empty()
                return b""

    async def read_all(self, limit: int) -> bytes:
        """The whole body; Corrupt when it is more than `limit` bytes."""
        if self._left is not None and self._left > limit:
            raise Corrupt(f"{self._exchange.what}: answer of {self._left} bytes is more than the {limit} allowed")
        parts, total = [], 0
        while chunk := await self.read():
            parts.append(chunk)
            total += len(chunk)
            if total > limit:
                raise Corrupt(f"{self._exchange.what}: answer is more than the {limit} bytes allowed")
        return b"".join(parts)


class EarlyResponse(Exception):
    """The server answered and hung up before the whole body was sent; `response` says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Exchange:
    """One request on one connection: `send` the body as declared, `finish` for the answer."""

    __slots__ = ("_left", "_received", "_reusable", "connection", "method", "reused", "stream", "what")

    def __init__(self, stream: ByteStream, method: str, what: str, *, reused: bool) -> None:
        self.stream = stream
        self.connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self.method = method
        self.what = what
        self.reused = reused
        self._left: int | None = 0
        self._received = False
        self._reusable = False

    async def start(self, target: str, headers: Headers, length: int | None, body: bytes = b"") -> None:
        """Send the head (and a small `body` with it); `length` None: chunked."""
        self._left = length
        if length is None:
            headers = [*headers, ("Transfer-Encoding", "chunked")]
        elif length or self.method in ("POST", "PUT", "PATCH"):
            headers = [*headers, ("Content-Length", str(length))]
        try:
            head = self.connection.send(h11.Request(method=self.method, target=target, headers=headers))
        except h11.LocalProtocolError as error:
            raise UsageError(f"{self.what}: {error}") from None
        assert head is not None
        if length is not None:
            self._left = length - len(body)
        await self.stream.send(head + body)

    async def send(self, data: bytes | memoryview) -> None:
        """A piece of the body. EarlyResponse when the server has answered and closed instead of reading on."""
        try:
            if self._left is not None:
                self._left -= len(data)
                assert self._left >= 0, "more body than declared"
                await self.stream.send(data)
            else:
                for part in self.connection.send_with_data_passthrough(h11.Data(data=data)) or ():  # type: ignore[arg-type]
                    await self.stream.send(part)
        except RegistryUnavailable as error:
            try:
                response = await self._head()
            except RegistryUnavailable:
                raise error from None
            raise EarlyResponse(response) from error

    async def finish(self) -> Response:
        """The answer's head, when the whole body is sent."""
        if self._left is None:
            await self.stream.send(self.connection.send(h11.EndOfMessage()) or b"")
            self._left = 0
        assert self._left == 0, "less body than declared"
        return await self._head()

    async def _head(self) -> Response:
        while True:
            event = await self.next_event()
            if isinstance(event, h11.Response):
                bodyless = self.method == "HEAD" or event.status_code in (204, 304)
                return Response(self, event, bodyless=bodyless)

    async def next_event(self) -> h11.Event:
        """h11's next event that is no "need data"; RegistryUnavailable when the peer speaks wrongly or hangs up."""
        while True:
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                raise self._misspoken(error) from None
            if event is h11.NEED_DATA:
                data = await self.stream.receive()
                try:
                    self.connection.receive_data(data)
                except (h11.RemoteProtocolError, RuntimeError):
                    raise RegistryUnavailable(f"{self.what}: connection closed before the answer") from None
                continue
            if isinstance(event, h11.ConnectionClosed):
                raise RegistryUnavailable(f"{self.what}: connection closed before the answer")
            if isinstance(event, h11.Event):
                return event

    def _misspoken(self, error: h11.RemoteProtocolError) -> RegistryUnavailable:
        started = self.connection.their_http_version is not None
        if not started and "status line" in str(error):
            return NotHttp(f"{self.what}: what answers there does not speak HTTP")
        return RegistryUnavailable(f"{self.what}: {str(error)[:200]}")

    def received(self, *, reusable: bool) -> None:
        self._received = True
        self._reusable = reusable and self._left == 0

    @property
    def reusable(self) -> bool:
        """The exchange is complete and the connection may serve another."""
        return self._received and self._reusable


class Client:
    """A pool of connections to any servers. Use as an async context manager, or `close()` it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._idle: dict[tuple[object, ...], list[tuple[float, ByteStream]]] = {}
        self._contexts: dict[Trust, object] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is idle; exchanges under way close theirs themselves."""
        for streams in self._idle.values():
            for _, stream in streams:
                stream.close()
        self._idle.clear()

    @asynccontextmanager
    async def exchange(
        self, method: str, url: Url, headers: Headers, *, length: int | None = 0, trust: Trust = SYSTEM
    ) -> AsyncIterator[Exchange]:
        """An exchange whose body the caller sends; on a connection of its own until the block is left."""
        key = (url.scheme, url.host, url.port, trust)
        stream = self._take(key)
        reused = stream is not None
        what = f"{method} {url.redacted}"
        through = proxy.proxy_for(url.scheme, url.host, url.port, self._environment)
        if stream is None:
            stream = await self._connect(url, trust, through, what)
        exchange = Exchange(stream, method, what, reused=reused)
        target = url.target
        head = [("Host", url.netloc), ("User-Agent", USER_AGENT), *headers]
        if through is not None and url.scheme == "http":
            target = str(url)
            if through.authorization:
                head.append(("Proxy-Authorization", through.authorization))
        try:
            await exchange.start(target, head, length)
            yield exchange
        finally:
            if exchange.reusable:
                self._give_back(key, stream)
            else:
                stream.close()

    @asynccontextmanager
    async def request(
        self, method: str, url: Url, headers: Headers, *, body: bytes = b"", trust: Trust = SYSTEM
    ) -> AsyncIterator[Response]:
        """A request with its whole body in hand; sent again on a new connection when an idle one turns out dead."""
        while True:
            async with self.exchange(method, url, headers, length=len(body), trust=trust) as exchange:
                try:
                    if body:
                        await exchange.send(body)
                    response = await exchange.finish()
                except EarlyResponse as early:
                    response = early.response
                except RegistryUnavailable:
                    if exchange.reused and exchange.connection.their_http_version is None:
                        continue
                    raise
                yield response
                return

    def _take(self, key: tuple[object, ...]) -> ByteStream | None:
        idle = self._idle.get(key, [])
        now = time.monotonic()
        while idle:
            since, stream = idle.pop()
            if now - since < IDLE_SECONDS and stream.usable():
                return stream
            stream.close()
        return None

    def _give_back(self, key: tuple[object, ...], stream: ByteStream) -> None:
        idle = self._idle.setdefault(key, [])
        if len(idle) >= IDLE_COUNT:
            idle.pop(0)[1].close()
        idle.append((time.monotonic(), stream))

    async def _connect(self, url: Url, trust: Trust, through: proxy.Proxy | None, what: str) -> ByteStream:
        async def plain() -> sockets.PlainStream:
            return await _plain(url, through, what)

        connected = await plain()
        if url.scheme == "http":
            return connected
        from trimaran.registry import tls

        return await tls.secure(connected, self._context(trust), url.host, what, plain)

    def _context(self, trust: Trust) -> object:
        context = self._contexts.get(trust)
        if context is None:
            from trimaran.registry.tls import tls_context

            context = self._contexts[trust] = tls_context(trust)
        return context


async def _plain(url: Url, through: proxy.Proxy | None, what: str) -> sockets.PlainStream:
    """Bytes to and from the server, or for plain HTTP its proxy; TLS, where it is spoken, goes over it."""
    if through is None:
        return await sockets.connect(url.host, url.port, what)
    if through.secure:
        raise UsageError(f"{what}: a proxy that is itself spoken to by TLS is not supported", hint="use http://")
    plain = await sockets.connect(through.host, through.port, f"{what} through proxy {through.host}:{through.port}")
    if url.scheme == "https":
        try:
            await _tunnel(plain, url, through, what)
        except BaseException:
            plain.close()
            raise
    return plain


def _refused_by_proxy(status: int, where: str, through: proxy.Proxy) -> ConnectFailed:
    hint = "mend HTTPS_PROXY, or name the host in NO_PROXY"
    if status == PROXY_ASKS:
        hint = "the user and password in HTTPS_PROXY are not what it wants" if through.authorization else PROXY_LOGIN
    error = ConnectFailed(f"{where} refused the tunnel: {status}", hint=hint)
    error.retryable = status in RETRYABLE
    return error


async def _tunnel(plain: sockets.PlainStream, url: Url, through: proxy.Proxy, what: str) -> None:
    """CONNECT (RFC 9110 §9.3.6); the proxy's refusal names the proxy, not the registry."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
    host = f"[{url.host}]" if ":" in url.host else url.host
    headers = [("Host", f"{host}:{url.port}"), ("User-Agent", USER_AGENT)]
    if through.authorization:
        headers.append(("Proxy-Authorization", through.authorization))
    head = connection.send(h11.Request(method="CONNECT", target=f"{host}:{url.port}", headers=headers))
    await plain.send(head or b"")
    where = f"{what}: proxy {through.host}:{through.port}"
    while True:
        try:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await plain.receive())
                continue
        except h11.RemoteProtocolError:
            hint = "HTTPS_PROXY is to be the address of an HTTP proxy"
            raise NotHttp(f"{where}: what answers there does not speak HTTP", hint=hint) from None
        if isinstance(event, h11.Response):
            if 200 <= event.status_code < 300:
                return
            raise _refused_by_proxy(event.status_code, where, through)
        if isinstance(event, h11.ConnectionClosed):
            raise RegistryUnavailable(f"{where} hung up")
