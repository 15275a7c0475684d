"""What a registry or the way to it says no with; every error names the redacted URL, never a credential."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from trimaran.errors import Denied, NotFound, TrimaranError, UsageError
from trimaran.oci.backoff import Transient

#: Query keys that are part of the distribution API and safe to show; a signed URL of a CDN holds secrets in others.
_SHOWN_QUERY = ("mount", "from", "digest", "n", "last", "tag", "ns", "scope", "service")
#: Statuses after which the same request may succeed.
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
#: Said by a proxy alone: it wants to know who asks (RFC 9110, 15.5.8).
PROXY_ASKS = 407
PROXY_LOGIN = "put user and password into the proxy's variable: http://USER:PASSWORD@HOST:PORT"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer an error was made from."""

    method: str
    url: str
    status: int
    codes: tuple[str, ...] = ()
    message: str = ""
    retry_after: float | None = None


class RegistryError(TrimaranError):
    """A registry's no; `answer` is its answer (None when there was none)."""

    answer: Answer | None = None


class RegistryDenied(RegistryError, Denied):
    """401 or 403."""


class RegistryNotFound(RegistryError, NotFound):
    """404, or a code that says so."""


class RegistryRefused(RegistryError, UsageError):
    """Another 4xx: the request is wrong and will stay so."""


class RegistryUnavailable(RegistryError, Transient):
    """429, 5xx, a reset or no connection: the same request may be tried again."""


class ConnectFailed(RegistryUnavailable):
    """No connection was made: nothing was sent. Rarely mends itself within seconds."""

    attempts = 3


#: What to do about a certificate of an authority that nobody here trusts, where no registry's settings can.
TRUST = "put the CA into this machine's store, or set SSL_CERT_FILE to a file with it and those trusted already"


class CertificateRefused(ConnectFailed):
    """The server's certificate is not one we trust: trying again changes nothing."""

    retryable = False
    #: It is a matter of trust: nothing is wrong with the certificate itself.
    untrusted = False


class NotHttp(ConnectFailed):
    """What answered speaks no HTTP (or TLS where HTTP was spoken, or HTTP where TLS was)."""


def redact(url: str) -> str:
    """`url` without user, password and any query value that may be a secret; "…" for what is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    host = parts.netloc.rpartition("@")[2]
    shown = [
        pair if pair.partition("=")[0] in _SHOWN_QUERY else pair.partition("=")[0] + "=…"
        for pair in parts.query.split("&")
        if pair
    ]
    return urlunsplit((parts.scheme, host, parts.path, "&".join(shown), ""))


def printable(text: str, limit: int = 300) -> str:
    """A server's words fit for a terminal: no control characters, not too long."""
    clean = "".join(c if c.isprintable() else " " for c in text[: 4 * limit])
    return clean if len(clean) <= limit else clean[:limit] + "…"


def _words(body: bytes) -> tuple[tuple[str, ...], str]:
    """Codes and message of a distribution error body (`{"errors": [{"code", "message", "detail"}]}`)."""
    try:
        document: Any = msgspec.json.decode(body) if body[:1] == b"{" else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        document = None
    if not isinstance(document, dict):
        return (), ""
    errors = document.get("errors")
    if not isinstance(errors, list):
        message = document.get("error_description") or document.get("message") or document.get("details") or ""
        return (), printable(message) if isinstance(message, str) else ""
    entries = [entry for entry in errors[:10] if isinstance(entry, dict)]
    codes = tuple(printable(str(entry.get("code", "")), 60) for entry in entries)
    return codes, "; ".join(dict.fromkeys(_entry_words(entry) for entry in entries))


def _entry_words(entry: dict[str, Any]) -> str:
    words = str(entry.get("message") or entry.get("code") or "")
    detail = entry.get("detail")
    return printable(f"{words}: {detail}" if isinstance(detail, str) and detail else words)


def answer_of(method: str, url: str, status: int, body: bytes, retry_after: float | None = None) -> Answer:
    codes, message = _words(body)
    return Answer(method=method, url=redact(url), status=status, codes=codes, message=message, retry_after=retry_after)


def from_answer(answer: Answer, *, reason: str = "", hint: str = "") -> RegistryError:
    """The error an answer stands for."""
    kind: type[RegistryError]
    if answer.status in (401, 403):
        kind = RegistryDenied
    elif answer.status == 404:
        kind = RegistryNotFound
    elif answer.status in RETRYABLE or answer.status >= 500:
        kind = RegistryUnavailable
    else:
        kind = RegistryRefused
    words = answer.message or reason
    if answer.status == PROXY_ASKS:
        words, hint = "the proxy wants to know who asks", PROXY_LOGIN
    text = f"{answer.method} {answer.url}: {answer.status}" + (f": {words}" if words else "")
    error = kind(text, hint=hint)
    error.answer = answer
    if isinstance(error, RegistryUnavailable):
        error.retry_after = answer.retry_after
    return error


def parse_retry_after(text: str, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header: a number or an HTTP date; None when absent or nonsense."""
    text = text.strip()
    if text.isdecimal() and len(text) < 7:
        return float(text)
    if not text:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
