"""One GET over HTTP(S), redirects followed: for ADD, contexts and Dockerfiles from a URL.

Law (T27, T39): credentials of a URL go to that URL's origin alone; redirects are counted and stay with HTTP(S); a body
is bounded, and whole when no error was raised. Proxies and trusted certificates are those of the registry client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from trimaran.errors import Corrupt, UsageError
from trimaran.registry.errors import Answer, RegistryUnavailable, from_answer, parse_retry_after, redact
from trimaran.registry.http import Client, Headers, Response
from trimaran.registry.urls import Url

MAX_REDIRECTS = 10
LIMIT = 64 << 30
"""Bytes of one download, unless the caller wants less."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FALLBACK_NAME = "download"


class Address(msgspec.Struct, frozen=True):
    """A URL as given: where to ask, and the credentials it holds ("" for none). `repr` shows none."""

    url: Url
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Address({self.url.redacted})"

    @classmethod
    def parse(cls, text: str) -> Address:
        """UsageError when it is no http(s) URL. A fragment is not sent."""
        parts = urlsplit(text)
        authorization = ""
        if parts.username is not None:
            import base64

            words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(words.encode()).decode()
        place = parts.netloc.rpartition("@")[2]
        return cls(Url.parse(urlunsplit((parts.scheme, place, parts.path, parts.query, ""))), authorization)


@asynccontextmanager
async def answered(client: Client, address: Address, headers: Headers) -> AsyncIterator[Response]:
    """The last answer of the way: 200, or 304 where `headers` ask conditionally. Other answers are errors.

    RegistryUnavailable for what may work later.
    """
    url = address.url
    for _ in range(MAX_REDIRECTS + 1):
        words = [("Accept", "*/*"), ("Accept-Encoding", "identity"), *headers]
        if address.authorization and url.origin == address.url.origin:
            words.append(("Authorization", address.authorization))
        async with client.request("GET", url, words) as response:
            if response.status in _REDIRECTS and (location := response.headers.get("location")):
                url = _joined(url, location)
                continue
            if response.status not in (200, 304):
                raise _refusal(url, response)
            yield response
            return
    raise UsageError(f"download {address.url.redacted}: more than {MAX_REDIRECTS} redirects")


def _joined(url: Url, location: str) -> Url:
    try:
        return url.join(location)
    except ValueError:
        raise UsageError(f"download {url.redacted}: read URL of the redirect: it is none") from None


def _refusal(url: Url, response: Response) -> Exception:
    import time

    wait = parse_retry_after(response.headers.get("retry-after", ""), time.time())
    answer = Answer(method="GET", url=url.redacted, status=response.status, retry_after=wait)
    return from_answer(answer, reason=response.reason)


async def bounded(response: Response, what: str, limit: int) -> AsyncIterator[bytes]:
    """The body in pieces; Corrupt once it is more than `limit` bytes."""
    if response.length is not None and response.length > limit:
        raise Corrupt(f"{what}: {response.length} bytes are more than the {limit} allowed")
    total = 0
    while data := await response.read():
        total += len(data)
        if total > limit:
            raise Corrupt(f"{what}: more than the {limit} bytes allowed")
        yield data


async def download_small(client: Client, text: str, limit: int) -> bytes:
    """A whole small file."""
    from trimaran.registry.retry import retrying

    address = Address.parse(text)
    what = f"download {address.url.redacted}"

    async def once() -> bytes:
        async with answered(client, address, []) as response:
            return b"".join([data async for data in bounded(response, what, limit)])

    return await retrying(once)


def file_name(wanted: str, disposition: str, url: Url) -> str:
    """What the file is called: as asked for, else by the server (Content-Disposition), else by its URL (T28)."""
    for name in (wanted, _attachment(disposition), unquote(url.target.partition("?")[0])):
        safe = safe_name(name)
        if name and safe != _FALLBACK_NAME:
            return safe
    return _FALLBACK_NAME


def safe_name(name: str) -> str:
    """The last part of a name; "download" for what no folder can hold: dots, control characters, too long."""
    last = name.strip().rpartition("/")[2].strip()
    if last in ("", ".", "..") or not all(c.isprintable() for c in last):
        return _FALLBACK_NAME
    return last if len(last.encode("utf-8", "surrogateescape")) <= 255 else _FALLBACK_NAME


def _attachment(disposition: str) -> str:
    """`filename` (and `filename*`) of a Content-Disposition header, "" when it has none."""
    if "filename" not in disposition:
        return ""
    from email.message import Message

    message = Message()
    message["Content-Disposition"] = disposition[:8192].replace("\r", "").replace("\n", "")
    return message.get_filename("")


__all__ = [
    "LIMIT",
    "Address",
    "RegistryUnavailable",
    "answered",
    "bounded",
    "download_small",
    "file_name",
    "redact",
    "safe_name",
]
