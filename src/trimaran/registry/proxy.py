"""Which proxy a URL goes through: HTTP_PROXY, HTTPS_PROXY, NO_PROXY as Go's net/http reads them (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

import msgspec

from trimaran.errors import Unsupported, UsageError


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy; `authorization` is the value of Proxy-Authorization, "" for none. `repr` shows no password."""

    host: str
    port: int
    secure: bool = False
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower()) or ""


def proxy_for(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a connection to `host:port`, None for a direct one. Loopback is never proxied."""
    text = _variable(environment, "HTTPS_PROXY" if scheme == "https" else "HTTP_PROXY")
    if not text or bypassed(host, port, _variable(environment, "NO_PROXY")):
        return None
    return parse(text)


def parse(text: str) -> Proxy:
    """Read a proxy variable's value; a value without scheme means http."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
    except ValueError:
        parts = urlsplit("http://")
    if parts.scheme not in ("http", "https"):
        raise Unsupported(
            f"use proxy {parts.scheme}://…: only http and https proxies are supported",
            hint="set HTTPS_PROXY=http://HOST:PORT",
        )
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if not parts.hostname or not port:
        raise UsageError("read HTTP_PROXY or HTTPS_PROXY: no host and port", hint="set it to http://HOST:PORT")
    authorization = ""
    if parts.username is not None:
        import base64

        credential = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(credential.encode()).decode()
    return Proxy(parts.hostname, port, parts.scheme == "https", authorization)


def is_loopback(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or host == "::1" or _is_ipv4_loopback(host)


_VARIABLES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy"})


def on_loopback(environment: Iterable[str]) -> str:
    """The first proxy of these variables (`NAME=VALUE`) that is on loopback, as `HOST:PORT`; "" for none."""
    for variable in environment:
        name, _, value = variable.partition("=")
        if name.lower() not in _VARIABLES or not value:
            continue
        try:
            place = urlsplit(value if "://" in value else f"http://{value}")
            port = f":{place.port}" if place.port else ""
        except ValueError:
            continue
        if place.hostname and is_loopback(place.hostname):
            return (f"[{place.hostname}]" if ":" in place.hostname else place.hostname) + port
    return ""


def _is_ipv4_loopback(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(part.isdecimal() and int(part) < 256 for part in parts)


def bypassed(host: str, port: int, no_proxy: str) -> bool:
    """By NO_PROXY: `*`, host, .domain (and its subdomains), IP, CIDR, each with an optional :port."""
    if is_loopback(host):
        return True
    host = host.lower().rstrip(".")
    return any(_matches(entry.strip().lower(), host, port) for entry in no_proxy.split(",") if entry.strip())


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return in_network(host, entry)
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdecimal() and (":" not in name or name.startswith("[")):
        if int(wanted) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    if entry.startswith("*."):
        entry = entry[1:]
    if entry.startswith("."):
        return host.endswith(entry)
    return host == entry or host.endswith("." + entry)


def in_network(host: str, network: str) -> bool:
    """Whether `host` is an address within `network` (CIDR)."""
    import ipaddress

    try:
        return ipaddress.ip_address(host.strip("[]")) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
