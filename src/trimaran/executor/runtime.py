"""The one door to running a container: a protocol, its exit value, and the choice of the machine's runtime."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Protocol

import msgspec

from trimaran.errors import NotFound, UsageError
from trimaran.executor.process import Output, descendants
from trimaran.executor.spec import ExecSpec

_SOON = 0.02
_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")


class Exit(msgspec.Struct, frozen=True):
    """How the process ended: `code` as a shell shows it (128+signal when killed), `signal` 0 or its number.

    `oom`: the kernel killed it, or one of its processes, for want of memory. `peak_memory` in bytes where a group of
    its own was measured.
    """

    code: int
    signal: int = 0
    oom: bool = False
    peak_memory: int | None = None


class Terminal:
    """The user's terminal for a step with `spec.terminal`: its size now, and how changes reach the running process."""

    __slots__ = ("attached", "columns", "rows")

    def __init__(self, rows: int = 24, columns: int = 80) -> None:
        self.rows, self.columns = rows, columns
        self.attached: list[Resizable] = []

    def resize(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        for each in self.attached:
            each.resized(rows, columns)


class Signals:
    """The way of signals to a running program: how `trimaran run` passes on what it is sent."""

    __slots__ = ("runtime",)

    def __init__(self) -> None:
        self.runtime = 0
        """Process id of the runtime while it runs; process 1 of its container is the first one below."""

    def send(self, number: int) -> bool:
        """Whether a program runs, or is about to. As process 1 it gets only what it has a handler for."""
        if not self.runtime:
            return False
        for pid in descendants(self.runtime)[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                return True
        # The runtime has not made its process yet.
        asyncio.get_running_loop().call_later(_SOON, self.send, number)
        return True


class Resizable(Protocol):
    def resized(self, rows: int, columns: int) -> None: ...


class Runtime(Protocol):
    """Runs containers; safe for use by many steps at once."""

    name: str

    async def run(
        self,
        spec: ExecSpec,
        rootfs: str,
        *,
        output: Output,
        stdin: int | None = None,
        terminal: Terminal | None = None,
        signals: Signals | None = None,
    ) -> Exit:
        """Run to the end, giving every byte to `output(stream, data)` (1 stdout, 2 stderr) as it comes.

        A process that fails is an Exit, not an error; a container that cannot be started is a TrimaranError. On
        cancellation everything in the container is killed and its state removed before the cancellation goes on.
        """
        ...


def find_program(name: str) -> str | None:
    """A program in the system's folders; PATH and the current folder are not searched (CVE-2025-15558)."""
    for folder in _FOLDERS:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def choose_program(wanted: str | None = None) -> tuple[str, str]:
    """(name, path) of the runtime: `wanted` (also $TRIMARAN_RUNTIME: `crun`, `runc`, a path), else crun, else runc."""
    wanted = wanted or os.environ.get("TRIMARAN_RUNTIME") or ""
    if wanted:
        path = wanted if wanted.startswith("/") else find_program(wanted)
        name = os.path.basename(wanted)
        if name not in {"crun", "runc"}:
            raise UsageError(f'choose runtime: unknown runtime "{wanted}"', hint="known: crun, runc, or a path to one")
        if path is None or not os.access(path, os.X_OK):
            raise NotFound(f'choose runtime: "{wanted}" is not installed', hint=f"install it: apt-get install {name}")
        return name, path
    for name in ("crun", "runc"):
        found = find_program(name)
        if found:
            return name, found
    raise NotFound(
        "choose runtime: neither crun nor runc is installed",
        hint="install one: apt-get install crun (or dnf install crun)",
    )
