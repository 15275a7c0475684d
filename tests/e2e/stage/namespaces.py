"""A mount namespace of a test's own: what is mounted in it is gone with it, and nobody else sees it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from stage.program import Trimaran
from stage.watching import until


class MountNamespace:
    """Kept by a process that sleeps; needs root."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        enter = f'exec nsenter --mount=/proc/{process.pid}/ns/mnt --wdns="$PWD" -- "$@"'
        self._enter = ["sh", "-c", enter, "sh"]

    def run(self, *words: str) -> None:
        subprocess.run([*self._enter, *words], check=True)

    def inside(self, command: Trimaran) -> Trimaran:
        """The same command, in this namespace."""
        program = Trimaran([*self._enter, *command.command], command.home)
        program.environment = dict(command.environment)
        return program


@contextlib.contextmanager
def mount_namespace() -> Iterator[MountNamespace]:
    own = Path("/proc/self/ns/mnt").readlink()
    words = ["unshare", "--mount", "--propagation", "private", "setpriv", "--pdeathsig", "KILL", "sleep", "600"]
    process = subprocess.Popen(words)
    try:
        until(lambda: Path(f"/proc/{process.pid}/ns/mnt").readlink() != own, "the namespace is made")
        yield MountNamespace(process)
    finally:
        process.kill()
        process.wait()
