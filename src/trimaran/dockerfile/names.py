"""What vertices are called (reference §3.7): `[linux/amd64->arm64 build 2/3] RUN make`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from trimaran.dockerfile.state import StageState, Target
from trimaran.dockerfile.words import Expander, ExpansionError
from trimaran.errors import UsageError
from trimaran.platforms import Platform


def step_name(
    state: StageState,
    text: str,
    *,
    prefixed: bool,
    platform: Platform | None,
    env: Mapping[str, str],
) -> str:
    """The text behind the stage's name and count; counts one up."""
    if state.total == 0:
        return text
    out = "["
    if prefixed and platform is not None:
        out += platform.format_all() + _cross(platform, _target_of(env)) + " "
    if state.name:
        out += state.name + " "
    state.index += 1
    width = len(str(state.total))
    return f"{out}{state.index:{width}d}/{state.total}] {'ONBUILD ' if state.in_trigger else ''}{text}"


def command_name(code: str, expander: Expander, env: Mapping[str, str]) -> str:
    """An instruction's text as shown: its keyword in capitals, variables filled in where that works."""
    with suppress(ExpansionError):
        code = expander.word(code, env)
    keyword, space, rest = code.partition(" ")
    return keyword.upper() + space + rest


def internal(target: Target, text: str, platform: Platform | None) -> str:
    prefix = platform.format_all() + " " if target.prefixed and platform is not None else ""
    return f"[{prefix}internal] {text}"


def first_line(text: str) -> str:
    """A heredoc in one line: `set -e...`."""
    lines = text.strip().replace("\r\n", "\n").split("\n")
    return lines[0] + ("..." if len(lines) > 1 else "")


def _target_of(env: Mapping[str, str]) -> Platform | None:
    """The platform a stage builds for, where it declared the arguments that say so."""
    os = architecture = variant = ""
    known = False
    for name, value in env.items():
        if name == "TARGETPLATFORM":
            try:
                return Platform.parse(value)
            except UsageError:
                continue
        if name == "TARGETOS":
            os, known = value, True
        elif name == "TARGETARCH":
            architecture, known = value, True
        elif name == "TARGETVARIANT":
            variant, known = value, True
    return Platform(os, architecture, variant) if known else None


def _cross(base: Platform, target: Platform | None) -> str:
    if target is None:
        return ""
    wanted = Platform(target.os or base.os, target.architecture or base.architecture, target.variant).normalize()
    if wanted.os != base.os:
        return "->" + wanted.format_all()
    if wanted.architecture == base.architecture:
        return ""
    return "->" + wanted.architecture + (f"/{wanted.variant}" if wanted.variant else "")
