"""Trimaran on a store of its own; cold means a new store."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.tools import Build, NotThere, cache_options
from bench.tools.buildkit import compression


class Trimaran:
    name = "trimaran"

    def __init__(self, folder: Path, command: str) -> None:
        self._folder, self._argv, self._number = folder, shlex.split(command), 0

    def version(self) -> str:
        try:
            found = subprocess.run(
                [*self._argv, "--version"], check=True, capture_output=True, text=True, env=self.env()
            )
        except (OSError, subprocess.CalledProcessError) as problem:
            raise NotThere(f"{shlex.join(self._argv)} does not run; name it with --trimaran") from problem
        return found.stdout.strip()

    def forget(self) -> None:
        shutil.rmtree(self._root(), ignore_errors=True)
        self._number += 1

    def argv(self, build: Build) -> Sequence[str]:
        options = ["--platform", ",".join(build.platforms)] if build.platforms else []
        if build.pushed:
            options += ["--tag", build.destination, "--push"]
        else:
            options += ["--output", f"type=oci,dest={build.destination}{compression(build)}"]
        options += cache_options(build)
        return [*self._argv, "build", *options, str(build.context)]

    def env(self) -> dict[str, str]:
        env = {**os.environ, "TRIMARAN_ROOT": str(self._root())}
        # A checkout has to find its compiled modules as an installed package does.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        env["PYTHONPYCACHEPREFIX"] = str(self._folder / "pycache")
        return env

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _root(self) -> Path:
        return self._folder / f"root{self._number}"
