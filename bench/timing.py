"""Runs one command: wall time, CPU time of all it waited for, and on request the peak memory of its process tree."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

EVERY = 0.01  # seconds between two looks at the memory
PATIENCE = 900.0  # seconds after which a command is taken for hung


class Took(NamedTuple):
    wall: float  # seconds
    cpu: float  # seconds, user and system, of the command and what it waited for; daemons are not in it
    peak: float = 0.0  # MiB, only where it was watched


class CommandFailed(Exception):
    """A tool did not build: the workload has no figure for it."""


def run(argv: Sequence[str], env: Mapping[str, str], log: Path, *, watched: bool = False) -> Took:
    """Run `argv` to its end. Raises CommandFailed with the last lines of its output."""
    with log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = threading.Timer(PATIENCE, process.kill)
        deadline.start()
        watch = _Watch(process.pid) if watched else None
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        deadline.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = watch.stop() if watch else 0.0
    if process.returncode:
        lines = log.read_text(errors="replace").splitlines()
        raise CommandFailed(f"{' '.join(argv[:3])} … exited with {process.returncode}: " + "\n".join(lines[-12:]))
    return Took(wall, usage.ru_utime + usage.ru_stime, peak)


class _Watch:
    """Adds up the proportional set sizes of a process and all its descendants, again and again, in a thread."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._stopped = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> float:
        self._stopped.set()
        self._thread.join()
        return self._peak / 1024

    def _look(self) -> None:
        while not self._stopped.wait(EVERY):
            self._peak = max(self._peak, sum(map(_kibibytes, _descendants(self._pid))))


def _descendants(pid: int) -> list[int]:
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        try:
            for task in os.listdir(f"/proc/{found[-1]}/task"):
                children = Path(f"/proc/{found[-1]}/task/{task}/children").read_text()
                left += map(int, children.split())
        except OSError:  # it ended meanwhile
            continue
    return found


def _kibibytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
