"""Finds mounts and processes that a build left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path


def leaks_of(home: Path) -> list[str]:
    """One line for each mount and process that has to do with `home`, in whatever namespace; needs root to see all."""
    marker = os.fsencode(home)
    found = [f"mount: {os.fsdecode(line)}" for line in _lines(Path("/proc/self/mountinfo")) if marker in line]
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        command = _content(process / "cmdline")
        # A program started by the test has the store in its environment; a container has it in its mounts.
        seen = (command, _content(process / "environ"), _content(process / "mountinfo"))
        if command and any(marker in text for text in seen):
            words = os.fsdecode(command.replace(b"\0", b" "))
            found.append(f"process {process.name}: {words}")
    return found


def await_no_leaks(home: Path, seconds: float) -> list[str]:
    """What is still left of `home` after that time; empty as soon as nothing is."""
    deadline = time.monotonic() + seconds
    while (left := leaks_of(home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _lines(path: Path) -> list[bytes]:
    return _content(path).splitlines()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended while we looked
        return b""
