"""Absolute http(s) URLs as values: split once, printed redacted."""

from __future__ import annotations

from urllib.parse import quote, urljoin, urlsplit

import msgspec

from trimaran.registry.errors import RegistryRefused, redact

_PORTS = {"http": 80, "https": 443}
_SAFE = "!#$%&'()*+,/:;=?@[]~-._"


class Url(msgspec.Struct, frozen=True):
    scheme: str
    host: str
    port: int
    #: Path and query, as sent.
    target: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """RegistryRefused unless `text` is an absolute http(s) URL without user, password or control characters."""
        if len(text) > 16384 or not text.isprintable():
            raise RegistryRefused(f"read URL {text[:60]!r}…: too long or with control characters")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise RegistryRefused(f"read URL {text[:100]!r}: it is none") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise RegistryRefused(f"read URL {redact(text)[:100]!r}: want http:// or https:// and a host")
        if parts.username is not None or parts.password is not None:
            raise RegistryRefused(f"read URL {redact(text)[:100]!r}: a user or password has no place in it")
        target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], target)

    def join(self, location: str) -> Url:
        """The URL that a `Location` header of an answer from here names. RegistryRefused."""
        try:
            return Url.parse(urljoin(str(self), location))
        except ValueError:
            raise RegistryRefused(f"read URL {location[:100]!r}: it is none") from None

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials are bound to: scheme, host and port."""
        return (self.scheme, self.host, self.port)

    @property
    def netloc(self) -> str:
        """Host and, unless it is the scheme's own, port: what the Host header holds."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def with_query(self, pairs: dict[str, str]) -> Url:
        """With more query parameters."""
        query = "&".join(f"{key}={quote(value, safe=':')}" for key, value in pairs.items())
        if not query:
            return self
        joint = "&" if "?" in self.target else "?"
        return Url(self.scheme, self.host, self.port, f"{self.target}{joint}{query}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"

    @property
    def redacted(self) -> str:
        return redact(str(self))
