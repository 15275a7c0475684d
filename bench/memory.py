"""What Trimaran itself needs for large builds: `python -m bench.memory PROGRAM [CASE...]` prints a table.

The peak is that of the largest process of the command (ru_maxrss); processor time that of all its processes. Cases: a
graph of 10,000 vertices, the same with its first step failing, a context of 200,000 files, 20 layers of 1 GiB, written
to an OCI archive.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench import workloads

VERTICES = 10_000
FAILS = '["/nothing"]'
FILES = 200_000
LAYERS = 20
NOISE = 64 << 20
"""Bytes of each layer's GiB that do not compress; the rest is a hole, so that the disk is read and written little."""


def failing(folder: Path) -> None:
    """All hang on one step, which fails: there is no such program. It needs no registry, which might fail before it."""
    workloads.graph(folder, "base", VERTICES, ["FROM scratch AS base", f"RUN {FAILS}"])


def files(folder: Path) -> None:
    for number in range(0, FILES, 1000):
        below = folder / f"{number // 1000}"
        below.mkdir()
        for each in range(1000):
            (below / f"{each}").write_bytes(b"%d" % (number + each))
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")


def layers(folder: Path) -> None:
    """A file of 1 GiB for each layer."""
    lines = ["FROM scratch"]
    for number in range(LAYERS):
        with open(folder / f"{number}", "wb") as file:
            file.writelines(os.urandom(1 << 20) for _ in range(NOISE >> 20))
            file.truncate(1 << 30)
        lines.append(f"COPY {number} /{number}")
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")


class Case(NamedTuple):
    fill: Callable[[Path], None]
    fails: str = ""
    """The step that has to fail; else none may."""
    output: str = "type=cacheonly"


CASES = {
    "10,000 vertices": Case(lambda folder: workloads.graph(folder, "scratch", VERTICES)),
    "first of 10,000 fails": Case(failing, fails=f"[base 1/1] RUN {FAILS}:\n"),
    "200,000 files": Case(files),
    "20 GiB of layers": Case(layers, output="type=oci,dest=/dev/null"),
}


def run(program: str, context: Path, root: Path, case: Case) -> tuple[float, float, float]:
    """(seconds, processor seconds, MB at the peak) of one build, measured in a process of its own."""
    before = time.monotonic()
    pid = os.fork()
    if pid == 0:
        command = [program, "build", "--progress=plain", "-o", case.output, str(context)]
        with open(root.parent / "said", "wb") as said:
            done = subprocess.run(command, env={**os.environ, "TRIMARAN_ROOT": str(root)}, stderr=said, check=False)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = f"{usage.ru_utime + usage.ru_stime} {usage.ru_maxrss / 1000} {done.returncode}"
        (root.parent / "report").write_text(report)
        os._exit(0)
    os.waitpid(pid, 0)
    processor, peak, code = map(float, (root.parent / "report").read_text().split())
    said = (root.parent / "said").read_text()
    if bool(code) != bool(case.fails) or case.fails not in said:
        raise SystemExit(said[-2000:])
    return time.monotonic() - before, processor, peak


def main(program: str, wanted: list[str]) -> None:
    print("| case | build | seconds | processor seconds | peak MB |\n|---|---|---|---|---|")
    for name, case in CASES.items():
        if wanted and name not in wanted:
            continue
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            context = Path(folder) / "context"
            context.mkdir()
            case.fill(context)
            for which in ("first", "again"):
                seconds, processor, peak = run(program, context, Path(folder) / "store", case)
                print(f"| {name} | {which} | {seconds:.1f} | {processor:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
