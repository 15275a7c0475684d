"""Counting and removing what builds left, beside BuildKit: `python -m bench.disk PROGRAM [VERTICES...]` prints a table.

Each builds a graph of so many vertices (COPY in stages of a hundred, as the workload `graph`), keeping nothing but its
cache, in a store that had nothing before. Then, in turn: `du`, three times, and `prune --all --force`, as commands with
their start-up. BuildKit is that of $DOCKER_HOST, whose whole cache is removed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import workloads
from bench.tools.buildkit import BuildKit

VERTICES = (1_000, 10_000)
ROUNDS = 3


class Tool(NamedTuple):
    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]

    def seconds(self, *words: str) -> tuple[float, float]:
        """(by the clock, of processors where the command does the work itself)."""
        before, began = os.times(), time.monotonic()
        subprocess.run([*self.argv, *words], env=self.environment, check=True, capture_output=True)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        return time.monotonic() - began, used


def tools(program: str, root: Path) -> list[Tool]:
    found = [Tool("trimaran", [program], {**os.environ, "TRIMARAN_ROOT": str(root)})]
    buildkit = BuildKit()
    if os.environ.get("DOCKER_HOST"):
        print(buildkit.version())
        found.append(Tool("buildkit", ["docker", "buildx"], dict(os.environ)))
    return found


def main(arguments: list[str]) -> int:
    program, *sizes = arguments or ["trimaran"]
    print("| records of | tool | du | prune --all --force | its processor seconds |\n|---|---|---|---|---|")
    for size in [int(each) for each in sizes] or VERTICES:
        with tempfile.TemporaryDirectory(prefix="bench-disk-", dir="/var/tmp") as folder:
            context = Path(folder, "context")
            context.mkdir()
            workloads.graph(context, "scratch", size)
            measure(size, context, tools(program, Path(folder, "root")))
    return 0


def measure(size: int, context: Path, compared: Sequence[Tool]) -> None:
    for tool in compared:
        tool.seconds("prune", "--all", "--force")
        tool.seconds("build", "--progress=quiet", "-o", "type=cacheonly", str(context))
    asked: dict[str, list[float]] = {tool.name: [] for tool in compared}
    for _ in range(ROUNDS):
        for tool in compared:
            asked[tool.name].append(tool.seconds("du")[0])
    for tool in compared:
        took, used = tool.seconds("prune", "--all", "--force")
        own = f"{used:.2f}" if tool.name == "trimaran" else ""
        print(f"| {size} | {tool.name} | {statistics.median(asked[tool.name]):.2f} | {took:.2f} | {own} |", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
