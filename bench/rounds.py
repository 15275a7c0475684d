"""Runs a workload on every tool in turn, again and again, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import outputs, timing
from bench.tools import Build, Tool
from bench.workloads import CHANGED, COLD, EXPORT, IMPORT, Workload

SETTLE = 2.2  # seconds after a file was edited: caches that trust times do so only after two
COMPARED, WATCHED = 0, -1  # numbers of the rounds that are not measured
TIRED = 100.0  # seconds that a tool may need for one size: who needs more is not given the double of it


class Result(NamedTuple):
    workload: Workload
    phase: str
    took: dict[str, list[timing.Took]]  # tool -> one for each round
    differs: dict[str, str]  # tool -> how its output differs from the first tool's
    failed: dict[str, str]  # tool -> why it has no figure


class _Round(NamedTuple):
    workload: Workload
    context: Path
    number: int
    compared: dict[str, outputs.Output]  # phase -> what the first tool made


class Bench(NamedTuple):
    folder: Path
    registry: str
    tools: Sequence[Tool]
    rounds: int
    say: Callable[[str], None]

    def run(self, workload: Workload) -> list[Result]:
        """One unmeasured round in which outputs are compared, then the measured ones, then one for the memory."""
        return self._rounds(workload, (COMPARED, *range(1, self.rounds + 1), WATCHED))

    def grow(self, sizes: Sequence[Workload]) -> list[Result]:
        """One build at sizes that double; images are compared at the first, who got tired is left out of the next."""
        found: list[Result] = []
        awake = self
        for workload in sizes:
            unmeasured = () if found else (COMPARED,)
            results = awake._rounds(workload, (*unmeasured, *range(1, self.rounds + 1)))
            awake = awake._replace(tools=[tool for tool in awake.tools if not _is_tired(tool, results)])
            found += results
        return found

    def _rounds(self, workload: Workload, numbers: Sequence[int]) -> list[Result]:
        context = self._context(workload)
        results = [Result(workload, phase, {}, {}, {}) for phase in workload.phases]
        for number in numbers:
            self._round(_Round(workload, context, number, {}), results)
        shutil.rmtree(context)
        return results

    def _context(self, workload: Workload) -> Path:
        context = self.folder / "context"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir(parents=True)
        workload.make(context, self.registry, workload.size)
        time.sleep(SETTLE)
        return context

    def _round(self, current: _Round, results: list[Result]) -> None:
        first = current.number % len(self.tools)
        for tool in (*self.tools[first:], *self.tools[:first]):
            if tool.name in results[0].failed or (current.number == WATCHED and tool.name != "trimaran"):
                continue
            try:
                for result in results:
                    self._phase(tool, current, result)
            except (timing.CommandFailed, OSError, ValueError) as problem:
                for result in results:
                    result.failed[tool.name] = str(problem)
                self.say(f"{current.workload.name}: {tool.name}: {problem}")

    def _phase(self, tool: Tool, current: _Round, result: Result) -> None:
        if result.phase in (COLD, IMPORT):
            tool.forget()
        if current.workload.change and result.phase in (COLD, CHANGED):
            current.workload.change(current.context, 0 if result.phase == COLD else current.number + 2)
            time.sleep(SETTLE)
        build = self._build(tool, current, result.phase)
        os.sync()  # nobody pays for writing down what another tool made
        log = self.folder / f"{tool.name}.log"
        took = timing.run(tool.argv(build), tool.env(), log, watched=current.number == WATCHED)
        self.say(f"{current.workload.name} {result.phase}: {tool.name}: {took.wall:.3f} s")
        if current.number == COMPARED:
            output = outputs.read(build.destination, is_pushed=build.pushed)
            reference = current.compared.setdefault(result.phase, output)
            result.differs[tool.name] = outputs.difference(output, reference)
        else:
            result.took.setdefault(tool.name, []).append(took)
        if not build.pushed:
            Path(build.destination).unlink(missing_ok=True)

    def _build(self, tool: Tool, current: _Round, phase: str) -> Build:
        workload = current.workload
        is_pushed = workload.output == "push"
        # A repository of its own: what an earlier round pushed must not save this one the upload.
        name = f"{self.registry}/bench/{workload.name}-{workload.size}-{tool.name}-{current.number + 1}:latest"
        destination = name if is_pushed else str(self.folder / "output.tar")
        cache = f"{self.registry}/bench/cache-{workload.name}-{tool.name}-{current.number + 1}:latest"
        return Build(
            current.context,
            destination,
            is_pushed,
            workload.platforms,
            workload.compression,
            cache_to=cache if phase == EXPORT else "",
            cache_from=cache if phase == IMPORT else "",
        )


def _is_tired(tool: Tool, results: Sequence[Result]) -> bool:
    """It failed, or needed so long for one of the phases that twice the work is not worth waiting for."""
    return any(
        tool.name in result.failed or max(took.wall for took in result.took[tool.name]) > TIRED for result in results
    )
