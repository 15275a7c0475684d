"""What is refused of a build's options by name, whoever gives them: the command line, a Python program, a bake file."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.caches.options import CacheExport, CacheImport, signings_of
from trimaran.errors import UsageError
from trimaran.spelling import unknown

ENTITLEMENTS = ("network.host", "security.insecure", "buildx.local.delete")


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
