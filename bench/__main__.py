"""python -m bench [WORKLOAD...] [--rounds N] [--tools NAME,...] [--growth] [--json FILE] [--markdown FILE]"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import bases
from bases.registry import serve
from bench import report, workloads
from bench.emulation import handlers
from bench.rounds import Bench
from bench.tools import NotThere, Tool
from bench.tools.buildah import Buildah
from bench.tools.buildkit import BuildKit
from bench.tools.trimaran import Trimaran

REPOSITORY = Path(__file__).parents[1]
GROWTH = {  # each workload at sizes that double
    "files": (12_500, 25_000, 50_000, 100_000, 200_000),
    "graph": (625, 1_250, 2_500, 5_000, 10_000),
    "run30": (10, 20, 40, 80),
    "stages": (10, 20, 40, 80),
    "chain": (15, 30, 60, 120),
    "gzip": (64, 128, 256, 512),
    "cross": (1, 2, 4),  # platforms
}


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    names = options.workloads or (list(GROWTH) if options.growth else [each.name for each in workloads.ALL])
    chosen = [workloads.NAMED[name] for name in names]
    needed = {platform for workload in chosen for platform in workload.platforms}
    rows = []
    with _folder(options.folder) as folder, _registry(folder, options.bases) as registry, handlers(needed):
        tools = _tools(folder, options)
        with contextlib.ExitStack() as stack:
            for tool in tools:
                stack.callback(tool.close)
            bench = Bench(folder, registry, tools, options.rounds, _say)
            versions = [f"{tool.name}: {tool.version()}" for tool in tools]
            for workload in chosen:
                results = bench.grow(list(_grown(workload))) if options.growth else bench.run(workload)
                rows += [report.row(result) for result in results]
    _write(rows, [tool.name for tool in tools], versions, options)
    return 0 if all(document.get("met", True) for document in rows) else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=sys.modules["bench"].__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(workloads.NAMED))
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default 5)")
    parser.add_argument("--tools", default="buildkit,buildah,trimaran", help="default: %(default)s")
    parser.add_argument("--growth", action="store_true", help="sizes that double, to see how cost grows")
    parser.add_argument("--trimaran", default=_program(), help="command to measure (default %(default)s)")
    parser.add_argument("--bases", type=Path, default=REPOSITORY / ".work/bases", help="where base images are kept")
    parser.add_argument("--folder", type=Path, help="where stores and contexts are put (default: below /var/tmp)")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.workloads if name not in workloads.NAMED]
    if unknown:
        parser.error(f"unknown workload {unknown[0]}; known are {', '.join(workloads.NAMED)}")
    return options


def _program() -> str:
    installed = REPOSITORY / ".work/venv/bin/trimaran"
    return str(installed) if installed.exists() else f"{sys.executable} -m trimaran"


@contextlib.contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="trimaran-bench-", dir=wanted or "/var/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _registry(folder: Path, kept: Path) -> Iterator[str]:
    bases.make(kept)
    with serve(folder / "registry") as address:
        for _ in bases.push(kept, address):
            pass
        yield address


def _tools(folder: Path, options: argparse.Namespace) -> list[Tool]:
    """BuildKit first: the others' outputs are compared with its."""
    wanted = options.tools.split(",")
    found: list[Tool] = []
    for tool in (BuildKit(), Buildah(folder / "buildah"), Trimaran(folder / "trimaran", options.trimaran)):
        if tool.name in wanted:
            try:
                tool.version()
                found.append(tool)
            except NotThere as problem:
                _say(f"without {tool.name}: {problem}")
    if not found:
        raise SystemExit("bench: none of the tools is there")
    return found


def _grown(workload: workloads.Workload) -> Iterator[workloads.Workload]:
    for size in GROWTH.get(workload.name, (workload.size,)):
        platforms = workload.platforms[:size] if workload.name == "cross" else workload.platforms
        yield workload._replace(size=size, platforms=platforms, title=f"{workload.name} {size}")


def _write(rows: list[dict[str, object]], tools: list[str], versions: list[str], options: argparse.Namespace) -> None:
    head = f"{report.machine()}; {'; '.join(versions)}; {options.rounds} rounds, {time.strftime('%Y-%m-%d')}\n\n"
    table = head + (report.growth(rows, tools) if options.growth else report.markdown(rows, tools))
    print(table)
    if options.json:
        options.json.write_text(json.dumps({"machine": report.machine(), "versions": versions, "rows": rows}, indent=1))
    if options.markdown:
        options.markdown.write_text(table)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
