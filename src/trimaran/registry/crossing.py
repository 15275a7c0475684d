"""Where an answer of a server may send us next: redirects, upload locations, token servers (threats T51-T53; pure).

Law: what is spoken to by TLS sends us to nothing less, and a host out there not into this machine. What is shown at the
place that was sent to is not decided here: nobody's credentials go to another origin (`endpoint`, `auth`).
"""

from __future__ import annotations

import ipaddress
import socket

from trimaran.registry.errors import RegistryDenied
from trimaran.registry.proxy import is_loopback
from trimaran.registry.urls import Url

#: This machine, its links, and where clouds answer to machines about themselves without asking who it is.
_INWARD = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "100.100.100.200/32",
        "::/128",
        "::1/128",
        "fe80::/10",
        "fd00:ec2::254/128",
    )
)


def follow(url: Url, location: str, what: str) -> Url:
    """The place that `url`'s answer names; RegistryDenied, which begins with `what`, where that may not be."""
    target = url.join(location)
    refused = refusal(url, target)
    if refused:
        hint = (
            "does its proxy tell the registry, by X-Forwarded-Proto, that TLS was spoken?"
            if _at_home(url, target)
            else ""
        )
        raise RegistryDenied(f"{what} of {url.redacted}: it leads {refused} ({target.netloc})", hint=hint)
    return target


def _at_home(url: Url, target: Url) -> bool:
    """The same host by the wrong scheme: more often a mistake than an attack."""
    return url.host == target.host and target.scheme == "http"


def refusal(origin: Url, target: Url) -> str:
    """Why `origin` may not send us to `target`, "" when it may."""
    if origin.scheme == "https" and target.scheme != "https":
        return "to plain HTTP"
    return "into this machine" if _is_inward(target.host) and not _is_inward(origin.host) else ""


def _is_inward(host: str) -> bool:
    """Of a literal address in any spelling that the system's resolver takes, or a name that needs no resolver."""
    host = host.rstrip(".")
    if is_loopback(host):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
        except (OSError, ValueError):
            return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in _INWARD)
