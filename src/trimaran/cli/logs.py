"""`logs [BUILD] [STEP]`: every byte the steps of an earlier build wrote."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from trimaran.cli.columns import align
from trimaran.cli.invocation import CI_VARIABLES, Invocation, for_log
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values
from trimaran.cli.units import human_duration
from trimaran.errors import NotFound

if TYPE_CHECKING:
    from trimaran.engine.history import BuildRecord
    from trimaran.engine.request import StepRecord

COMMAND = Command(
    name="logs",
    summary="Show what the steps of a build said",
    usage="logs [OPTIONS] [BUILD [STEP]]",
    description="Show all that the steps of a build wrote; without BUILD, of the last one. BUILD is an id or its "
    "beginning, or ^N for the N-th before the last; STEP is a number or a part of its name.",
    flags=(DEBUG, Flag(name="list", shorthand="l", kind="bool", help="List the builds there are logs of")),
    arguments=(0, 2),
    completes="build",
    examples=(
        Example("The last build's:", "logs"),
        Example("One step of the build before it:", "logs ^1 'apt-get install'"),
    ),
)
_CHUNK = 1 << 20
_SHORT = 12


def run(values: Values, invocation: Invocation) -> int:
    from trimaran import settings
    from trimaran.engine.engine import state_folder
    from trimaran.engine.history import asked_for, builds, choose

    root = state_folder(settings.load())
    records = builds(root)
    if values.boolean("list"):
        invocation.show(table(asked_for(records), time.time()))
        return 0
    build, step = (*values.arguments, "", "")[:2]
    record = choose(records, build)
    steps = choose_steps(record, step)
    if not steps:
        invocation.err(f"No step of build {record.build_id[:_SHORT]} said anything: what is cached does not run\n")
    for each in steps:
        if not step:
            invocation.show(f"#{each.number} {each.name}\n")
        _copy(os.path.join(root, "builds", record.build_id, f"{each.number}.log"), invocation)
    return 0


def choose_steps(record: BuildRecord, text: str) -> list[StepRecord]:
    steps = [step for step in record.steps if step.logged]
    if not text:
        return steps
    number = text.removeprefix("#")
    found = [step for step in record.steps if number == str(step.number)]
    found = found or [step for step in record.steps if text in step.name]
    if not found:
        known = ", ".join(f"#{step.number}" for step in steps)
        raise NotFound(f"find step {text}: no such step", hint=f"steps that said something: {known or 'none'}")
    return [step for step in found if step.logged]


def table(records: list[BuildRecord], now: float) -> str:
    lines = ["BUILD ID\tNAME\tSTATUS\tCREATED AT\tDURATION\n"]
    for record in records:
        seconds = max(record.completed - record.started, 0) / 1e9  # clocks are set back
        duration = f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds) // 60}m {int(seconds) % 60:2d}s"
        created = human_duration(now - record.started / 1e9) + " ago"
        lines.append(f"{record.build_id[:_SHORT]}\t{record.name}\t{record.status.title()}\t{created}\t{duration}\n")
    return align("".join(lines), padding=3)


def _pieces(file: BinaryIO, invocation: Invocation) -> Iterator[bytes]:
    """The file's bytes, harmless in the log of a CI server's job: a line too long for one piece is parted by a space,
    or what is obeyed could lie across two.
    """
    if CI_VARIABLES.isdisjoint(invocation.environment):
        yield from iter(lambda: file.read(_CHUNK), b"")
        return
    while piece := file.readline(_CHUNK):
        parted = b"" if len(piece) < _CHUNK or piece.endswith(b"\n") else b" "
        text = for_log(piece.decode("utf-8", "surrogateescape"), invocation.environment)
        yield text.encode("utf-8", "surrogateescape") + parted


def _copy(path: str, invocation: Invocation) -> None:
    """The log as it was written, a line end added where it has none; harmless in the log of a CI server's job."""
    last = b"\n"
    try:
        with open(path, "rb") as file:
            for piece in _pieces(file, invocation):
                invocation.out_bytes(piece)
                last = piece[-1:]
    except FileNotFoundError:
        return
    if last != b"\n":
        invocation.out("\n")
