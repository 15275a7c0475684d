"""BuildKit of the Docker daemon that $DOCKER_HOST names, through docker-buildx started directly."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from bench.tools import Build, NotThere, cache_options

PLUGIN_FOLDERS = ("/usr/local/libexec/docker/cli-plugins", "/usr/libexec/docker/cli-plugins")


class BuildKit:
    name = "buildkit"

    def __init__(self) -> None:
        configured = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        folders = (os.path.join(configured, "cli-plugins"), *PLUGIN_FOLDERS)
        found = [path for folder in folders if os.access(path := os.path.join(folder, "docker-buildx"), os.X_OK)]
        self._buildx = found[0] if found else ""
        self._pushed: set[str] = set()

    def version(self) -> str:
        if not self._buildx:
            raise NotThere("docker-buildx is in no plugin folder; set DOCKER_CONFIG")
        try:
            server = self._say("docker", "version", "--format", "dockerd {{.Server.Version}}")
        except (OSError, subprocess.CalledProcessError) as problem:
            raise NotThere("no Docker daemon answers; set DOCKER_HOST") from problem
        return f"{server}, buildx {self._say(self._buildx, 'version').split()[1]}"

    def forget(self) -> None:
        self._say(self._buildx, "prune", "--all", "--force")
        if self._pushed:  # dockerd keeps the blobs of images that it has a name for
            self._say("docker", "image", "rm", "--force", *self._pushed)
            self._pushed.clear()

    def argv(self, build: Build) -> Sequence[str]:
        options = ["--provenance=false"]
        if build.platforms:
            options += ["--platform", ",".join(build.platforms)]
        if build.pushed:
            self._pushed.add(build.destination)
            options += ["--tag", build.destination, "--push"]
        else:
            options += ["--output", f"type=oci,dest={build.destination}{compression(build)}"]
        options += cache_options(build)
        return [self._buildx, "build", *options, str(build.context)]

    def env(self) -> dict[str, str]:
        return dict(os.environ)

    def close(self) -> None:
        self.forget()

    def _say(self, *argv: str) -> str:
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def compression(build: Build) -> str:
    return f",compression={build.compression}" if build.compression else ""
