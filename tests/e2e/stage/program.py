"""The installed program, run as a user would run it, in a home of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 240.0  # seconds; emulated steps on a busy machine are slow


class Trimaran:
    """Call it with arguments to run the command to its end; `start` it to do something to it meanwhile.

    `home` is everything the program may know: its HOME, its store (`root`), its configuration, its temporary files.
    """

    def __init__(self, command: Sequence[str], home: Path) -> None:
        self.command = list(command)
        self.home = home
        self.root = home / "store"
        self.docker_config = home / "docker"
        self.settings = home / "trimaran.toml"
        self.environment = {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "TRIMARAN_ROOT": str(self.root),
            "TRIMARAN_CONFIG": str(self.settings),
            "DOCKER_CONFIG": str(self.docker_config),
        }
        self._started: list[subprocess.Popen[str]] = []

    @classmethod
    def on(cls, command: Sequence[str], home: Path, *, mirror: str = "") -> Trimaran:
        """Make `home` and settings in it; with `mirror` (host:port), docker.io is asked there, over plain HTTP."""
        program = cls(command, home)
        for folder in (home, home / "tmp", home / "run", program.docker_config):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings = f'[registry."docker.io"]\nmirrors = ["{mirror}"]\n[registry."{mirror}"]\nhttp = true\n'
        program.settings.write_text(settings if mirror else "")
        return program

    def forget(self) -> None:
        """A new, empty store from here on."""
        self.environment["TRIMARAN_ROOT"] = str(self.home / f"store{os.urandom(2).hex()}")

    def __call__(
        self,
        *arguments: str | os.PathLike[str],
        cwd: Path | None = None,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        exit_code: int | None = 0,
        timeout: float = TIMEOUT,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end. The exit code has to be the expected one (None: any)."""
        process = self.start(
            *arguments, cwd=cwd, env=env, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE
        )
        try:
            output, errors = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            raise AssertionError(_account(process, output, errors, f"still ran after {timeout} s")) from None
        if exit_code is not None and process.returncode != exit_code:
            raise AssertionError(_account(process, output, errors, f"exit code {process.returncode}, not {exit_code}"))
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def start(
        self,
        *arguments: str | os.PathLike[str],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[str]:
        """Start it in a session of its own, with pipes for what it says."""
        process = subprocess.Popen(
            [*self.command, *(os.fspath(argument) for argument in arguments)],
            cwd=cwd or self.home,
            env={**self.environment, **(env or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def stop(self) -> None:
        """Kill what a test started and did not wait for."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def _account(process: subprocess.Popen[str], output: str, errors: str, what: str) -> str:
    words = process.args if isinstance(process.args, list) else [process.args]
    return f"{' '.join(map(str, words))}\n{what}\n--- stdout\n{output}\n--- stderr\n{errors}"
