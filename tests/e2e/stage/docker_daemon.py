"""A real dockerd with the containerd image store or the classic one, unpacked from Debian and run for one session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage.docker_cli import unpack

PACKAGES = ("sid", "docker.io", "docker-cli", "containerd")


class DockerDaemon:
    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.home = home
        self.host = f"unix://{home}/docker.sock"

    def docker(self, *words: str) -> str:
        done = subprocess.run(
            [self.root / "usr/bin/docker", *words],
            env={"DOCKER_HOST": self.host, "HOME": str(self.home), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def serving(folder: Path, home: Path, *, containerd_store: bool) -> Iterator[DockerDaemon]:
    """`folder` keeps the unpacked programs; everything of the daemon lies below `home` and goes with it."""
    root = folder / "root"
    if not (root / "usr/sbin/dockerd").exists():
        unpack(folder, root, *PACKAGES)
    programs = home / "bin"
    programs.mkdir(parents=True)
    for name in ("usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/containerd-shim-runc-v2"):
        (programs / Path(name).name).symlink_to(root / name)
    (programs / "runc").symlink_to(shutil.which("runc", path="/usr/sbin:/usr/bin"))
    configuration = {
        "features": {"containerd-snapshotter": containerd_store},
        "iptables": False,
        "ip6tables": False,
        "bridge": "none",
        "userland-proxy": False,
        "data-root": f"{home}/data",
        "exec-root": f"{home}/exec",
        "pidfile": f"{home}/dockerd.pid",
        "hosts": [f"unix://{home}/docker.sock"],
    }
    (home / "daemon.json").write_text(json.dumps(configuration))
    daemon = DockerDaemon(root, home)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "dockerd", "--config-file", home / "daemon.json"],
            env={"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"},
            stdout=log,
            stderr=log,
        )
        try:
            _await(process, home)
            yield daemon
        finally:
            process.terminate()
            process.wait(30)


def _await(process: subprocess.Popen[bytes], home: Path) -> None:
    for _ in range(300):
        if (home / "docker.sock").exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError((home / "log").read_text()[-2000:])
