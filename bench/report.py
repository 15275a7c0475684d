"""Turns results into rows, and rows into Markdown and JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.budgets import BUDGETS, MEMORY
from bench.rounds import Result
from bench.timing import Took

OURS, PEER = "trimaran", "buildkit"


class Figure(NamedTuple):
    median: float
    low: float
    high: float
    cpu: float  # median of CPU seconds

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"

    @classmethod
    def of(cls, timed: Sequence[Took]) -> Figure | None:
        walls = [took.wall for took in timed]
        if not walls:
            return None
        return cls(statistics.median(walls), min(walls), max(walls), statistics.median(took.cpu for took in timed))


def figures(result: Result) -> dict[str, Figure]:
    found = {tool: Figure.of([took for took in all_took if not took.peak]) for tool, all_took in result.took.items()}
    return {tool: figure for tool, figure in found.items() if figure}


def row(result: Result) -> dict[str, Any]:
    """One phase of one workload as plain data."""
    found = figures(result)
    peak = max((took.peak for took in result.took.get(OURS, ())), default=0.0)
    document: dict[str, Any] = {
        "workload": result.workload.name,
        "title": result.workload.title,
        "size": result.workload.size,
        "phase": result.phase,
        "seconds": {tool: figure._asdict() for tool, figure in found.items()},
        "failed": result.failed,
        "differs": {tool: text for tool, text in result.differs.items() if text},
    }
    if peak:
        document |= {"peak_mib": round(peak, 1), "memory_met": peak < MEMORY}
    budget = BUDGETS.get((result.workload.name, result.phase))
    if budget:
        document |= {"standalone": budget.standalone, "limit_standalone": budget.limit(budget.standalone)}
    if OURS in found and PEER in found:
        document["ratio"] = found[OURS].median / found[PEER].median
    if budget and OURS in found:
        document["met_standalone"] = found[OURS].median <= budget.limit(budget.standalone)
        if PEER in found:
            document["limit"] = budget.limit(found[PEER].median)
            document["met"] = found[OURS].median <= document["limit"]
    return document


def machine() -> str:
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    gibibytes = int(memory.split()[1]) / (1 << 20)
    return f"{os.cpu_count()} processors, {gibibytes:.0f} GiB, Linux {platform.release()}, {platform.machine()}"


def markdown(rows: Sequence[dict[str, Any]], tools: Sequence[str]) -> str:
    """The table of all rows: medians in seconds with the lowest and the highest beside them."""
    heads = ["workload", "", *tools]
    if OURS in tools:
        heads += ["ratio", "limit", "met", "standalone", "met", "MiB"]
    heads.append("same image")
    lines = [heads, ["---"] * len(heads)]
    lines += [_cells(document, tools) for document in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _cells(document: dict[str, Any], tools: Sequence[str]) -> list[str]:
    cells = [document["title"], document["phase"]]
    for tool in tools:
        figure = document["seconds"].get(tool)
        cells.append(str(Figure(**figure)) if figure else "failed" if tool in document["failed"] else "")
    if OURS in tools:
        cells += [
            _number(document.get("ratio"), 2),
            _number(document.get("limit"), 3),
            _word(document.get("met")),
            _number(document.get("standalone"), 3),
            _word(document.get("met_standalone")),
            _number(document.get("peak_mib"), 0),
        ]
    differs = document["differs"]
    cells.append("; ".join(f"{tool}: {text}" for tool, text in differs.items()) if differs else "yes")
    return cells


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _word(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "**no**"


def growth(rows: Sequence[dict[str, Any]], tools: Sequence[str]) -> str:
    """For each workload, phase and tool: seconds per size, and the factor by which each doubling multiplies them."""
    lines: list[str] = []
    for key in dict.fromkeys((document["workload"], document["phase"]) for document in rows):
        group = [document for document in rows if (document["workload"], document["phase"]) == key]
        lines += [
            f"\n**{key[0]}, {key[1]}**\n",
            "| | " + " | ".join(str(document["size"]) for document in group) + " |",
        ]
        lines.append("|---" * (len(group) + 1) + "|")
        for tool in tools:
            medians = [document["seconds"].get(tool, {}).get("median") for document in group]
            lines.append(f"| {tool} | " + " | ".join(_with_factor(medians, at) for at in range(len(medians))) + " |")
    return "\n".join(lines) + "\n"


def _with_factor(medians: Sequence[float | None], at: int) -> str:
    now = medians[at]
    before = medians[at - 1] if at else None
    if now is None:
        return "failed"
    return f"{now:.3f}" + (f" (x{now / before:.2f})" if before else "")
