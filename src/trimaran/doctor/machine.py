"""The machine as the checks see it: its files, programs and account; tests give one with a root folder of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from trimaran.doctor.remedies import Remedies
from trimaran.executor.runtime import find_program
from trimaran.linux import ids

Status = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """`warn`: builds work, but less well or not for all platforms. `command` mends it, to be pasted into a shell."""

    name: str
    status: Status
    detail: str
    command: str = ""


class Machine:
    """Files are read below `root`; `find` finds a program; the account and the environment may be others' too."""

    def __init__(
        self,
        *,
        root: str = "",
        environment: Mapping[str, str] | None = None,
        uid: int | None = None,
        user: str = "",
        find: Callable[[str], str | None] = find_program,
    ) -> None:
        self.root = root
        self.environment = os.environ if environment is None else environment
        self.uid = os.geteuid() if uid is None else uid
        self.user = user or ids.account_name(self.uid)
        self.find = find

    @property
    def may_mount(self) -> bool:
        """Whether this is root with the capability that mounts need (root in a container often lacks it)."""
        status = self.read("/proc/self/status") or ""
        effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
        return self.uid == 0 and bool(int(effective, 16) >> 21 & 1)

    def read(self, path: str) -> str | None:
        """The text of a file; None when there is none or it cannot be read."""
        try:
            with open(self.root + path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        return os.path.exists(self.root + path)

    def list(self, path: str) -> list[str]:
        """Sorted names in a folder; none when it is not there."""
        try:
            return sorted(os.listdir(self.root + path))
        except OSError:
            return []

    def run(self, argv: Sequence[str]) -> tuple[int, str]:
        """Exit code and standard output of a program; 127 and the reason when it cannot be started or hangs (10 s)."""
        import subprocess

        try:
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return 127, str(error)
        return done.returncode, done.stdout

    @property
    def remedies(self) -> Remedies:
        """Commands in the words of this machine's distribution, for this account."""
        raiser = "" if self.uid == 0 else next((name for name in ("sudo", "doas") if self.find(name)), "sudo")
        return Remedies.of(self.read("/etc/os-release") or self.read("/usr/lib/os-release") or "", raiser)
