"""What is refused of a build's options by name, whoever gives them: the command line, a Python program, a bake file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimaran.caches.options import CacheExport, CacheImport, signings_of
from trimaran.errors import UsageError
from trimaran.spelling import unknown

if TYPE_CHECKING:
    from trimaran.engine.request import Resources

ENTITLEMENTS = ("network.host", "security.insecure", "buildx.local.delete")
_LEVELS = {"gzip": 9, "zstd": 22}
"""The highest, which BuildKit's documentation names."""


def check_tag(name: str) -> str:
    """The name as it was given, once it is known to parse; a digest is no tag."""
    from trimaran.reference import Reference

    try:
        parsed = Reference.parse(name)
    except UsageError as error:
        raise UsageError(f'invalid tag "{name}": {error.message}', hint=error.hint) from None
    if parsed.digest:
        raise UsageError(f'invalid tag "{name}": a name with a digest cannot be given to something new')
    return name


def check_platform(name: str) -> None:
    """Refuse what no machine is: containerd would take it, and nothing would ever run the result."""
    from trimaran.platforms import KNOWN_ARCHITECTURES, KNOWN_OS, Platform

    parsed = Platform.parse(name)
    parts = (("operating system", parsed.os, KNOWN_OS), ("architecture", parsed.architecture, KNOWN_ARCHITECTURES))
    for what, word, known in parts:
        if word not in known:
            message, hint = unknown(what, word, sorted(known))
            raise UsageError(f"parse platform {name!r}: {message}", hint=hint)


def check_address(address: str) -> str:
    """An IP address of an extra host, without brackets, or the word host-gateway."""
    import ipaddress

    bare = address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address
    if bare != "host-gateway":
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            raise UsageError(f'invalid IP address in add-host: "{address}"') from None
    return bare


def check_entitlement(text: str) -> str:
    if text in ENTITLEMENTS:
        return text
    if text == "device" or text.startswith("device="):
        raise UsageError(f"--allow {text}: not done by the embedded builder", hint="leave it out: steps get no devices")
    message, hint = unknown("entitlement", text, ENTITLEMENTS)
    raise UsageError(message, hint=hint)


def check_signing(imports: Sequence[CacheImport], exports: Sequence[CacheExport]) -> None:
    """A signature says of every record that a trusted job made it: not of what was read from where anybody writes."""
    unsigned = [each for each in imports if each.signing is None]
    if unsigned and signings_of((), exports):
        raise UsageError(
            "sign a cache: one that is read has no sign-key, so whatever somebody put there would be signed, too",
            hint="add sign-key=… to every --cache-from, or leave that one out",
        )


def check_no_cache(*, everything: bool, stages: Sequence[str]) -> None:
    if everything and stages:
        raise UsageError("--no-cache and --no-cache-filter cannot currently be used together")


def check_level(kind: str, level: int | None) -> int | None:
    """A level of compression of `kind`; what is not compressed has none, and any is passed over, as in BuildKit."""
    most = _LEVELS.get(kind)
    if most is None:
        return None
    if level is not None and not 0 <= level <= most:
        raise UsageError(f"compression-level={level}: {kind} has 0 to {most}")
    return level


def check_resources(resources: Resources) -> Resources:
    """Of a program, whose numbers no flag has read."""
    for name in ("jobs", "cache_limit"):
        if getattr(resources, name) < 0:
            raise UsageError(f"read resources {name}={getattr(resources, name)}: it is not less than 0")
    for name in ("limits", "build_limits"):
        limits = getattr(resources, name)
        if limits is not None and (fault := limits.fault()):
            value = getattr(limits, fault.field)
            raise UsageError(f"read resources {name}.{fault.field}={value!r}: {fault.cause}", hint=fault.hint)
    return resources
