"""`explain [BUILD [BUILD]]`: why steps of a build were not cached, or how two builds differ."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values

if TYPE_CHECKING:
    from trimaran.engine.explanations import Explained
    from trimaran.engine.history import BuildRecord

COMMAND = Command(
    name="explain",
    summary="Say why steps of a build were not cached",
    usage="explain [OPTIONS] [BUILD [BUILD]]",
    description="Say which steps of a build were cached and why the others were not; without BUILD, of the last one. "
    "With two, say how the steps of the second differ from those of the first, cached or not. BUILD is an id or its "
    "beginning, or ^N for the N-th before the last.",
    flags=(DEBUG, Flag(name="json", kind="bool", help="Print JSON")),
    arguments=(0, 2),
    completes="build",
    examples=(
        Example("Why did the last build run what it ran?", "explain"),
        Example("What changed since the build before it?", "explain ^1 ^0"),
    ),
)
_SHORT = 12
_OUTCOMES = {
    "cached": "cached",
    "ran": "ran",
    "adopted": "ran, gave the same: what reads it is cached",
    "failed": "failed",
    "same": "the same",
    "differs": "differs",
    "only-first": "only in the first build",
    "only-second": "only in the second build",
    "unknown": "differs; of a step that failed, or whose record is gone, nobody knows in what",
}


def run(values: Values, invocation: Invocation) -> int:
    from trimaran import settings
    from trimaran.engine.engine import state_folder
    from trimaran.engine.explanations import compared, explained
    from trimaran.engine.history import builds, choose

    root = state_folder(settings.load())
    known = builds(root)
    chosen = [choose(known, text) for text in values.arguments or ("",)]
    if len(chosen) == 1:
        steps = explained(root, chosen[0])
    else:
        from trimaran.store.store import open_store

        with open_store(root, readonly=True) as store:
            steps = compared(store, chosen[0], chosen[1])
    if values.boolean("json"):
        invocation.out(_json(chosen, steps))
    else:
        invocation.show(_head(chosen, steps) + "".join(map(shown, steps)))
    return 0


def _json(chosen: list[BuildRecord], steps: list[Explained]) -> str:
    import msgspec

    document = {"builds": [record.build_id for record in chosen], "steps": steps}
    return msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2).decode() + "\n"


def _head(chosen: list[BuildRecord], steps: list[Explained]) -> str:
    from trimaran.cli.display.misses import ago
    from trimaran.cli.display.terminal import printable

    last = chosen[-1]
    ids = " and ".join(record.build_id[:_SHORT] for record in chosen)
    since = ago(last.started, time.time_ns())
    if len(chosen) > 1:
        differ = sum(step.outcome != "same" for step in steps)
        return f"Builds {ids}: {differ} of {len(steps)} steps differ\n"
    ran = sum(step.outcome != "cached" for step in steps)
    ended = {"error": ", failed", "canceled": ", canceled"}.get(last.status, "")
    return f"Build {ids} of {printable(last.name)}, {since}{ended}: {ran} of {len(steps)} steps ran\n"


def shown(step: Explained) -> str:
    """A step with what happened to it, and why, a line each."""
    from trimaran.cli.display.misses import text
    from trimaran.cli.display.terminal import printable
    from trimaran.misses import FilesChanged

    platforms = f" ({', '.join(step.platforms)})" if len(step.platforms) > 1 else ""
    origin = f", from {printable(step.origin)}" if step.origin else ""
    lines = [f"\n#{step.number} {printable(step.name)}{platforms}\n", f"   {_OUTCOMES[step.outcome]}{origin}\n"]
    for reason in step.reasons:
        lines.append(f"   - {text(reason, time.time_ns())}\n")
        if isinstance(reason, FilesChanged):
            lines += [f"     {printable(file.path) or '.'} ({file.how})\n" for file in reason.files[3:]]
    return "".join(lines)
