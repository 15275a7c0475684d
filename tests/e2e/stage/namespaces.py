"""Namespaces of a test's own: what is mounted in them is gone with them, and nobody else sees it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from stage.program import Trimaran
from stage.watching import until


class MountNamespace:
    """Kept by a process that sleeps; needs root. `users`: with its user namespace."""

    def __init__(self, process: subprocess.Popen[bytes], *, users: bool = False) -> None:
        which = f"--mount=/proc/{process.pid}/ns/mnt" + f" --user=/proc/{process.pid}/ns/user" * users
        enter = f'exec nsenter {which} --wdns="$PWD" -- "$@"'
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
    with _kept("mnt", "--mount", "--propagation", "private") as process:
        yield MountNamespace(process)


@contextlib.contextmanager
def user_namespace(ids: int = 1_000_000) -> Iterator[MountNamespace]:
    """With a mount namespace; users are as outside, up to `ids`, so that accounts are themselves in it."""
    with _kept("mnt", "--user", "--mount", "--propagation", "private") as process:
        for kind in ("uid", "gid"):
            Path(f"/proc/{process.pid}/{kind}_map").write_text(f"0 0 {ids}")
        yield MountNamespace(process, users=True)


@contextlib.contextmanager
def _kept(last: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in new namespaces, once it is in the `last` of them."""
    own = Path(f"/proc/self/ns/{last}").readlink()
    process = subprocess.Popen(["unshare", *words, "setpriv", "--pdeathsig", "KILL", "sleep", "600"])
    try:
        until(lambda: Path(f"/proc/{process.pid}/ns/{last}").readlink() != own, "the namespace is made")
        yield process
    finally:
        process.kill()
        process.wait()
