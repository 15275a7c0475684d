"""Build arguments: the predefined ones, those before the first FROM, the proxies, and the time of the build."""

from __future__ import annotations

from collections.abc import Mapping

from trimaran.dockerfile.instructions import Arg
from trimaran.dockerfile.words import Expander, ExpansionError
from trimaran.errors import UsageError
from trimaran.graph.frontend import FrontendRequest
from trimaran.platforms import Platform

NOT_ENVIRONMENT = frozenset(("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"))
"""Read by the engine, not by programs of the build."""
EPOCH = "SOURCE_DATE_EPOCH"
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


def predefined(build: Platform, target: Platform, stage: str, build_args: Mapping[str, str]) -> dict[str, str]:
    """Known to every FROM, and to a stage that declares them; build arguments win."""
    values = {
        "BUILDPLATFORM": str(build),
        "BUILDOS": build.os,
        "BUILDOSVERSION": build.os_version,
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": target.format_all(),
        "TARGETOS": target.os,
        "TARGETOSVERSION": target.os_version,
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant,
        "TARGETSTAGE": stage or "default",
    }
    return {name: build_args.get(name, value) for name, value in values.items()}


def with_global(
    values: dict[str, str], items: tuple[Arg, ...], expander: Expander, build_args: Mapping[str, str]
) -> dict[str, str]:
    """Add the ARGs that stand before the first FROM."""
    values = dict(values)
    for arg in items:
        for index, item in enumerate(arg.items):
            value = build_args.get(item.name)
            if value is None and item.value is not None:
                try:
                    value = expander.word(item.value, values)
                except ExpansionError as error:
                    raise arg.node.error(error.message, arg.node.arguments[index], hint=error.hint) from None
            if value is not None:
                values[item.name] = value
    return values


def proxies(build_args: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Proxy arguments: given to every RUN, part of no cache key."""
    found: dict[str, str] = {}
    for name in sorted(build_args):
        if name.lower() in PROXIES:
            found[name.upper()] = build_args[name]
    return tuple((name.upper(), found[name.upper()]) for name in PROXIES if name.upper() in found)


def epoch(request: FrontendRequest, values: Mapping[str, str]) -> int | None:
    """SOURCE_DATE_EPOCH in seconds: an option, a build argument, or a global ARG; 1970 where times may not be kept."""
    if request.source_date_epoch is not None:
        return request.source_date_epoch
    text = dict(request.build_args).get(EPOCH, values.get(EPOCH, ""))
    if not text:
        return 0 if request.reproducible else None
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 19:
        return int(text)
    raise UsageError(f"read SOURCE_DATE_EPOCH {text!r}: want seconds since 1970")
