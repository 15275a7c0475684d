"""What follows the progress of a build: last lines of failed steps, warnings, how much ran emulated. Pure."""

from __future__ import annotations

from trimaran.cli.display.trace import SECOND, Trace
from trimaran.errors import Location
from trimaran.snippet import snippet

_YELLOW = "\x1b[33m"
_RESET = "\x1b[0m"


def epilogue(trace: Trace, *, lines: int) -> str:
    """For each failed step its name and the last `lines` lines of its log, between rules."""
    out: list[str] = []
    for vertex in trace.started:
        if vertex.failed and not vertex.hidden:
            out.append(f"------\n > {vertex.name}:\n")
            out.extend(f"{line}\n" for line in vertex.last_lines()[-lines:])
            out.append("------\n")
    return "".join(out)


def warnings(trace: Trace, *, expand: str, colour: bool, detailed: bool) -> str:
    """The list of warnings after a build; `expand` names the flag that shows more."""
    found = trace.warnings
    if not found:
        return ""
    more = "" if detailed else f" (use {expand} to expand)"
    head = f"{len(found)} warning{'s' if len(found) > 1 else ''} found{more}:\n"
    out = ["\n ", f"{_YELLOW}{head}{_RESET}" if colour else head]
    for warning in found:
        out.append(f" - {_text(warning.short)}\n")
        if not detailed:
            continue
        out.extend(f"{_text(line)}\n" for line in warning.detail)
        if warning.url:
            out.append(f"More info: {warning.url}\n")
        if isinstance(warning.where, Location):
            out.append(snippet(warning.where))
        out.append("\n")
    return "".join(out)


def execution_summary(trace: Trace) -> str:
    """How many steps ran natively, for another platform on this one's own CPU, and emulated; "" if all were native."""
    kinds = {"native": 0, "cross": 0, "emulated": 0}
    nanoseconds = 0
    for vertex in trace.shown():
        if vertex.completed and not vertex.cached and vertex.execution in kinds:
            kinds[vertex.execution] += 1
            nanoseconds += vertex.emulated
    if not kinds["cross"] and not kinds["emulated"]:
        return ""
    words = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    spent = f" ({nanoseconds / SECOND:.1f}s under emulation)" if kinds["emulated"] else ""
    return f"Steps run: {words}{spent}\n"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
