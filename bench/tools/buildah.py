"""buildah with a store of its own, steps in a chroot; cold means a new store."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.tools import Build, NotThere


class Buildah:
    name = "buildah"

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0

    def version(self) -> str:
        try:
            found = subprocess.run(["buildah", "--version"], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            raise NotThere("buildah is not installed") from problem
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "auth.json").write_text("{}")
        return " ".join(found.stdout.split()[:3])

    def forget(self) -> None:
        self._remove_store()
        self._number += 1

    def argv(self, build: Build) -> Sequence[str]:
        """buildah needs several commands for what is one build elsewhere: they are run by one shell."""
        if build.cache_to or build.cache_from:
            raise ValueError("its shared caches are of another kind")
        store = self._store()
        command = ["build", "--layers", "--isolation", "chroot", "--tls-verify=false", "--jobs", "4"]
        many = len(build.platforms) > 1
        if build.platforms:
            command += ["--platform", ",".join(build.platforms)]
        # A list of images that is there already would only get longer.
        before = [*store, "rmi", "--force", "result"] if many else []
        command += ["--manifest" if many else "--tag", "result", str(build.context)]
        push = ["manifest", "push", "--all"] if many else ["push"]
        push += ["--tls-verify=false"]
        if build.compression:
            push += ["--compression-format", build.compression]
        target = f"docker://{build.destination}" if build.pushed else f"oci-archive:{build.destination}"
        steps = [shlex.join([*store, *command]), shlex.join([*store, *push, "result", target])]
        script = " && ".join(steps)
        if before:
            script = f"{shlex.join(before)} >/dev/null 2>&1; {script}"
        return ["sh", "-c", script]

    def env(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        env["REGISTRY_AUTH_FILE"] = str(self._folder / "auth.json")
        return env

    def close(self) -> None:
        self._remove_store()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _store(self) -> list[str]:
        root, state = self._roots()
        return ["buildah", "--root", str(root), "--runroot", str(state), "--storage-driver", "overlay"]

    def _roots(self) -> tuple[Path, Path]:
        return self._folder / f"root{self._number}", self._folder / f"run{self._number}"

    def _remove_store(self) -> None:
        for folder in self._roots():
            # It leaves its store mounted on itself.
            mounted = str(folder / "overlay")
            subprocess.run(["umount", "--quiet", "--lazy", "--", mounted], check=False, capture_output=True)
            shutil.rmtree(folder, ignore_errors=True)
