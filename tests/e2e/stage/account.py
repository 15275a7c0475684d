"""A real ordinary account with subordinate ids, as rootless builds are run by."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

NAME = "trimaran-test"  # ./run clean removes it
SUBORDINATE_IDS = 65536
LOCK = "/run/lock/trimaran-test-account"


class Account:
    def __init__(self, entry: pwd.struct_passwd, program: Path) -> None:
        self.uid, self.gid, self.home, self._program = entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), program

    @classmethod
    def prepare(cls, program: Path, wheels: Path) -> Account:
        """Find or make the account. It runs `program`, or where it may not reach that, its own install of the wheel."""
        with open(LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            account = cls(_entry(), program)
            if not account._may_run(program):
                account._program = account._install(wheels)
        return account

    def command(self, *words: str) -> list[str]:
        """`words` (default: the program) as this account; what follows are arguments."""
        identity = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups", "--"]
        return [*identity, *(words or (str(self._program),))]

    def folder(self) -> Path:
        """A new folder in the account's home; short, since socket paths may not be long."""
        return Path(tempfile.mkdtemp(prefix="t-", dir=self.home))

    def own(self, folder: Path) -> None:
        for where, folders, files in os.walk(folder):
            for name in (".", *folders, *files):
                os.chown(os.path.join(where, name), self.uid, self.gid, follow_symlinks=False)

    def run(self, words: Sequence[str], **keywords: object) -> subprocess.CompletedProcess[str]:
        """Any other program as this account, with its output as text."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=60, **keywords)  # type: ignore[call-overload, no-any-return]

    def _may_run(self, program: Path) -> bool:
        return self.run([str(program), "--version"], env={"HOME": str(self.home)}, cwd="/").returncode == 0

    def _install(self, wheels: Path) -> Path:
        venv = self.home / "venv"
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels)]
        subprocess.run([*pip, "trimaran"], check=True)
        return venv / "bin/trimaran"


def _entry() -> pwd.struct_passwd:
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        command = ["useradd", "--create-home", "--shell", "/bin/sh", "--comment", "Trimaran's rootless tests", NAME]
        subprocess.run(command, check=True)
        entry = pwd.getpwnam(NAME)
    for kind, path in (("uids", "/etc/subuid"), ("gids", "/etc/subgid")):
        if not _has_subordinate_ids(Path(path)):
            first = _first_free(Path(path))
            span = f"{first}-{first + SUBORDINATE_IDS - 1}"
            subprocess.run(["usermod", f"--add-sub{kind}", span, NAME], check=True)
    return entry


def _ranges(path: Path) -> list[tuple[str, int, int]]:
    rows = [line.split(":") for line in path.read_text().splitlines()] if path.exists() else []
    return [(row[0], int(row[1]), int(row[2])) for row in rows if len(row) == 3]


def _has_subordinate_ids(path: Path) -> bool:
    return any(name == NAME and count >= SUBORDINATE_IDS for name, _, count in _ranges(path))


def _first_free(path: Path) -> int:
    return max((first + count for _, first, count in _ranges(path)), default=100_000)
