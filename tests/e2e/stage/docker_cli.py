"""The docker CLI with its own buildx, unpacked from a newer Debian suite into a folder: nothing is installed by it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stage.program import Trimaran

CURRENT = ("sid", "docker-cli", "docker-buildx")
OLD = ("bookworm", "docker.io")
"""Suite and packages. The old one is 20.10, whose `docker build` knows plugins only by an alias; it has no buildx."""
LEAST = 23


class DockerCli:
    """`program` is docker itself, `buildx` the plugin that came with it."""

    def __init__(self, program: Path, buildx: Path) -> None:
        self.program = program
        self.buildx = buildx

    @classmethod
    def prepare(cls, folder: Path) -> DockerCli:
        """The machine's own where it is new enough and has buildx, else one unpacked below `folder`, once."""
        own = shutil.which("docker")
        plugin = Path("/usr/libexec/docker/cli-plugins/docker-buildx")
        if own and plugin.exists() and _major(own) >= LEAST:
            return cls(Path(own), plugin)
        root = folder / "root"
        found = cls(root / "usr/bin/docker", root / "usr/libexec/docker/cli-plugins/docker-buildx")
        if not (found.program.exists() and found.buildx.exists()):
            unpack(folder, root, *CURRENT)
        return found

    def with_our_plugin(self, trimaran: Trimaran) -> dict[str, str]:
        """Buildx among the plugins of the program's docker folder, and ours put over it: docker's environment then.

        There is no daemon.
        """
        plugins = trimaran.docker_config / "cli-plugins"
        plugins.mkdir()
        (plugins / "docker-buildx").symlink_to(self.buildx)
        trimaran("plugin", "install")
        return {**trimaran.environment, "DOCKER_HOST": f"unix://{trimaran.home}/no-daemon.sock"}

    @classmethod
    def prepare_old(cls, folder: Path) -> Path:
        """Docker 20.10's client alone."""
        program = folder / "root/usr/bin/docker"
        if not program.exists():
            unpack(folder, folder / "root", *OLD)
        return program


def _major(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split()
    digits = said[2].partition(".")[0] if len(said) > 2 else ""
    return int(digits) if digits.isdigit() else 0


def unpack(folder: Path, root: Path, suite: str, *packages: str) -> None:
    """Put the packages' files below `root`; nothing is installed, no service starts."""
    (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
    root.mkdir(exist_ok=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb {_mirror()} {suite} main\n")
    apt = [
        "apt-get", "-qq", "-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=/dev/null",
        "-o", f"Dir::State::Lists={folder}/lists", "-o", "Acquire::Retries=5", "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    for command in (["update"], ["download", *packages]):
        done = subprocess.run([*apt, *command], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"the docker CLI cannot be had: apt-get {command[0]}: {done.stderr.strip()[-2000:]}")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, root], check=True)


def _mirror() -> str:
    """The machine's own mirror, where its sources name one (deb822 or one-line form)."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    if sources.exists():
        for line in sources.read_text().splitlines():
            if line.startswith("URIs:"):
                return line.split()[1]
    listed = Path("/etc/apt/sources.list")
    for line in listed.read_text().splitlines() if listed.exists() else []:
        words = [word for word in line.split() if not word.startswith(("[", "signed-by"))]
        if words[:1] == ["deb"]:
            return words[1]
    pytest.fail("the docker CLI cannot be had: the machine names no Debian mirror")
