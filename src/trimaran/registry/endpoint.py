"""One host of a registry spoken to as it wants: base URL found by trying, 401s answered, redirects followed naked.

Law: a redirect's target never gets an Authorization header (T51, T52) unless it is the very same origin; only GET and
HEAD follow redirects. What is not a success leaves as an error with the host, the URL and a hint.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trimaran import events
from trimaran.errors import TrimaranError
from trimaran.registry import errors
from trimaran.registry.auth import Authority, Scope
from trimaran.registry.errors import ConnectFailed, NotHttp, RegistryError, RegistryUnavailable
from trimaran.registry.hosts import Host, Hosts
from trimaran.registry.http import Client, Exchange, Headers, Response
from trimaran.registry.urls import Url

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECT_LIMIT = 5
_ERROR_LIMIT = 1 << 20


class Endpoint:
    """A host with the pool and the credentials to speak to it; shared by all its repositories."""

    def __init__(self, host: Host, client: Client, authority: Authority, hosts: Hosts) -> None:
        self.host = host
        self._client = client
        self._authority = authority
        self._hosts = hosts
        self._base: Url | None = None if len(host.bases) > 1 else host.bases[0]

    async def base(self) -> Url:
        """The base URL that speaks; found by asking `GET /v2/` where the scheme is not settled."""
        if self._base is None:
            self._base = await self._find_base()
        return self._base

    async def _find_base(self) -> Url:
        told: ConnectFailed | None = None
        for candidate in self.host.bases:
            try:
                async with self._client.request("GET", candidate, [], trust=self.host.trust) as response:
                    body = await response.read_all(_ERROR_LIMIT)
                if response.status == 400 and b"HTTPS" in body:
                    continue  # what Go's and nginx's TLS servers say to plain HTTP
                return candidate
            except (ConnectFailed, RegistryUnavailable) as error:
                spoke = not isinstance(error, ConnectFailed) or isinstance(error, NotHttp)
                said = error if isinstance(error, ConnectFailed) else NotHttp(str(error))
                if told is None or not isinstance(said, NotHttp):  # a scheme that was spoken knows what is wrong
                    told = said
                if not spoke and candidate.port == self.host.bases[-1].port:
                    break  # nobody listens there: the other scheme finds nobody either
        raise told or NotHttp(f"GET {self.host.bases[-1].redacted}: no registry there")

    async def url(self, path: str, query: dict[str, str] | None = None) -> Url:
        """`path` (relative to `/v2/`) here; a mirror is told whose names these are, as containerd does."""
        base = await self.base()
        pairs = dict(query or {})
        if self.host.mirror_of:
            pairs["ns"] = self.host.mirror_of
        return Url(base.scheme, base.host, base.port, base.target + path).with_query(pairs)

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: Url,
        *,
        scopes: tuple[Scope, ...],
        headers: Headers | None = None,
        body: bytes = b"",
        accept: tuple[int, ...] = (200,),
        sink: events.Sink = events.discard,
    ) -> AsyncIterator[Response]:
        """The answer of `url` with a status in `accept`; any other is raised. `url` may lie on another host."""
        headers = headers or []
        for attempt in range(2):
            redirected = self._redirected(method, url, headers, body, scopes=scopes, sink=sink)
            async with redirected as (response, answered, sent):
                base = await self.base()
                if response.status == 401 and answered.origin == base.origin and attempt == 0:
                    body_of_no = await response.read_all(_ERROR_LIMIT)
                    if await self._authority.answer(self.host, base, response, sent, scopes, sink) is not None:
                        continue
                    raise await self.refusal(method, answered, response, body_of_no)
                if response.status not in accept:
                    raise await self.refusal(method, answered, response)
                yield response
                return

    @asynccontextmanager
    async def _redirected(
        self, method: str, url: Url, headers: Headers, body: bytes, *, scopes: tuple[Scope, ...], sink: events.Sink
    ) -> AsyncIterator[tuple[Response, Url, str]]:
        """The answer after redirects, where it came from, and the Authorization that was shown there."""
        base = await self.base()
        for _ in range(_REDIRECT_LIMIT + 1):
            at_home = url.origin == base.origin
            shown = await self._authority.header(self.host, base, scopes, sink) if at_home else ""
            sent = [*headers, ("Authorization", shown)] if shown else headers
            trust = self.host.trust if at_home else self._hosts.trust_of(url.netloc)
            async with self._client.request(method, url, sent, body=body, trust=trust) as response:
                location = response.headers.get("location", "")
                if response.status in _REDIRECTS and location and method in ("GET", "HEAD"):
                    from trimaran.registry import crossing

                    await response.read_all(_ERROR_LIMIT)
                    url = crossing.follow(url, location, "follow redirect")
                    continue
                yield response, url, shown
                return
        raise RegistryUnavailable(f"{method} {url.redacted}: more than {_REDIRECT_LIMIT} redirects")

    @asynccontextmanager
    async def upload(
        self,
        method: str,
        url: Url,
        length: int | None,
        *,
        scopes: tuple[Scope, ...],
        headers: Headers,
        sink: events.Sink = events.discard,
    ) -> AsyncIterator[Exchange]:
        """An exchange whose body the caller streams; `url`, an upload's Location, gets no credentials elsewhere."""
        base = await self.base()
        at_home = url.origin == base.origin
        if at_home:
            authorization = await self._authority.header(self.host, base, scopes, sink)
            if authorization:
                headers = [*headers, ("Authorization", authorization)]
        trust = self.host.trust if at_home else self._hosts.trust_of(url.netloc)
        async with self._client.exchange(method, url, headers, length=length, trust=trust) as exchange:
            yield exchange

    async def expired(self, scopes: tuple[Scope, ...]) -> None:
        """A streamed request got 401: what we have is stale."""
        self._authority.forget(await self.base(), scopes)

    async def refusal(self, method: str, url: Url, response: Response, raw: bytes = b"") -> RegistryError:
        """The error that an unwelcome answer is; `raw` is its body where that was read already."""
        try:
            raw = raw or await response.read_all(_ERROR_LIMIT)
        except TrimaranError:
            raw = b""
        retry_after = errors.parse_retry_after(response.headers.get("retry-after", ""), time.time())
        answer = errors.answer_of(method, str(url), response.status, raw, retry_after)
        hint = self._authority.hint(self.host) if response.status in (401, 403) else ""
        if response.status == 429:
            hint = f'log in for a higher limit, or add a mirror: [registry."{self.host.name}"] mirrors = ["HOST"]'
        if response.status in _REDIRECTS:
            location = errors.redact(response.headers.get("location", ""))[:200]
            hint = f"it redirects to {location}, which is followed for reading only"
        return errors.from_answer(answer, reason=response.reason, hint=hint)
