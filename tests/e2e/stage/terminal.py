"""A program on a terminal of its own, as a person sits at one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from stage.program import Trimaran
from stage.watching import PATIENCE


class Session:
    """`text` is all that was shown so far."""

    process: subprocess.Popen[bytes]

    def __init__(self, terminal: int) -> None:
        self.text, self._terminal = "", terminal

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, pattern: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text, re.M):
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"it never showed {pattern!r}, but:\n{self.text}")

    def end(self, seconds: float = PATIENCE) -> int:
        """The exit code (negative: the signal) when it has ended."""
        deadline = time.monotonic() + seconds
        while self._read(max(0.0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"it does not end, it showed:\n{self.text}"
        return self.process.wait(1)

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed: not while a program has taken it over."""
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._terminal, 1 << 16)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.text += data.decode(errors="replace")
        return bool(data)


@contextlib.contextmanager
def session(command: Trimaran, *words: str, cwd: Path | None = None) -> Iterator[Session]:
    """Run the command on a new terminal of 24 rows and 80 columns."""
    ours, theirs = os.openpty()
    running = Session(ours)
    running.resize(24, 80)
    # setsid makes it the controlling terminal, so that keys become signals.
    process = subprocess.Popen(
        ["setsid", "--ctty", *command.command, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd or command.home,
        env={**command.environment, "TERM": "xterm"},
    )
    os.close(theirs)
    running.process = process
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        os.close(ours)
