"""Waiting for a running program to come to a certain point."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Callable

PATIENCE = 60.0  # seconds; the machine may be busy


class Screen:
    """What a started program says on its standard error, read while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        self.text = ""
        self._fd = process.stderr.fileno()

    def until(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """The first match of `pattern`; the test fails when the program ends or is silent for too long."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text, re.M)):
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"it never said {pattern!r}, but:\n{self.text}")
        return found

    def rest(self, seconds: float = PATIENCE) -> str:
        """All it has said when it has closed its standard error."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not self._read(left):
                return self.text
        raise AssertionError(f"it does not end, it said:\n{self.text}")

    def _read(self, seconds: float) -> bool:
        """Take in what there is; False at the end of it."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return True
        data = os.read(self._fd, 1 << 16)
        self.text += data.decode(errors="replace")
        return bool(data)


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until `condition()` is true; the test fails with `what` when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)
