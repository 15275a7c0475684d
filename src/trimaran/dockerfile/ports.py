"""Ports of EXPOSE: `80`, `80/udp`, `8000-8010/tcp`, and what docker tolerates before them (`ip:host:`)."""

from __future__ import annotations

from trimaran.dockerfile.gotext import quote
from trimaran.dockerfile.problems import DockerfileError
from trimaran.spelling import did_you_mean

PROTOCOLS = ("tcp", "udp", "sctp")


def expand_ports(specs: tuple[str, ...]) -> list[str]:
    """`port/protocol` for each port of each; DockerfileError (without a place) names the wrong one."""
    return [port for spec in specs for port in _expand(spec)]


def _expand(spec: str) -> list[str]:
    *outer, inner = spec.split(":")
    ports, _, protocol = inner.partition("/")
    if not ports:
        raise DockerfileError(f"invalid port: {quote(spec)}: no port specified", hint="such as 80 or 53/udp")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise DockerfileError(
            f"invalid port: {quote(spec)}: invalid proto: {protocol}", hint=did_you_mean(protocol, PROTOCOLS)
        )
    _check_ip(":".join(outer[:-1]))
    low, high = _range(ports, f"invalid containerPort: {ports}")
    if outer and outer[-1]:
        host_low, host_high = _range(outer[-1], f"invalid hostPort: {outer[-1]}")
        if high - low != host_high - host_low and high != low:
            raise DockerfileError(f"invalid ranges specified for container and host Ports: {ports} and {outer[-1]}")
    return [f"{port}/{protocol}" for port in range(low, high + 1)]


def _check_ip(text: str) -> None:
    if not text:
        return
    import ipaddress

    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise DockerfileError(
            f"invalid IP address: {text}", hint="EXPOSE takes ports only, such as 80 or 53/udp"
        ) from None


def _range(text: str, cause: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(part.isascii() and part.isdigit() and len(part) <= 9 and int(part) <= 0xFFFF for part in numbers):
        raise DockerfileError(cause, hint="a port is a number up to 65535, a range is FIRST-LAST")
    low, high = int(numbers[0]), int(numbers[1])
    if high < low:
        raise DockerfileError(cause, hint=f"the range ends before it begins; write {last}-{first}")
    return low, high
