"""Debian packages of any architecture, by an apt configuration of our own.

The machine's package lists, architectures and cache are never touched; only its choice of mirror and its proxy and
date settings are taken over, at run time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What a machine may say about how to reach its mirror; nothing else of its configuration matters to us.
TAKEN_OVER = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::ForceIPv")
ATTEMPTS = 5


def persistently(what: str, action: Callable[[], object]) -> None:
    """Mirrors hiccup: try again, after 2, 4, 8 and 16 seconds."""
    for attempt in range(1, ATTEMPTS):
        try:
            action()
        except subprocess.CalledProcessError as problem:
            pause = 2**attempt
            print(f"{what}: exit code {problem.returncode}, again in {pause} s", file=sys.stderr, flush=True)
            time.sleep(pause)
        else:
            return
    action()


def sources() -> list[str]:
    """One-line apt sources for SUITE, at the mirror the machine itself uses (the public one if it is no Debian)."""
    lines = []
    for uri, release, component in _machine_targets():
        suffix = release.removeprefix(_codename())
        if release.startswith(_codename()) and component == "main" and suffix in ("", "-updates", "-security"):
            lines.append(f"deb [signed-by={KEYRING}] {uri} {SUITE}{suffix} main")
    if not lines:
        raise RuntimeError(f"make base images: apt has no sources of {SUITE} here; this needs a Debian 12")
    return list(dict.fromkeys(lines))


def settings() -> list[str]:
    """The machine's apt settings that its mirror needs, as lines of apt.conf; with retries."""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    return [line for line in dump.splitlines() if line.startswith(TAKEN_OVER)] + ['Acquire::Retries "5";']


def download(package: str, architectures: Sequence[str], folder: Path) -> dict[str, Path]:
    """The newest `package` of SUITE for each Debian architecture, in `folder`; what is there already is kept."""
    present = {name: _find(folder, package, name) for name in architectures}
    if all(present.values()):
        return {name: path for name, path in present.items() if path}
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "apt"
    environment = {**os.environ, "APT_CONFIG": str(_configure(root, architectures))}

    def run(*arguments: str) -> None:
        # As another user apt could not write into the caller's folder.
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *arguments]
        persistently(
            f"apt-get {arguments[0]}", lambda: subprocess.run(command, check=True, env=environment, cwd=folder)
        )

    run("update", "-o", "APT::Update::Error-Mode=any")
    run("download", *(f"{package}:{name}" for name in architectures))
    shutil.rmtree(root)
    found = {name: _find(folder, package, name) for name in architectures}
    return {name: path for name, path in found.items() if path}


def _find(folder: Path, package: str, architecture: str) -> Path | None:
    return max(folder.glob(f"{package}_*_{architecture}.deb"), default=None)


def _configure(root: Path, architectures: Sequence[str]) -> Path:
    for name in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    # The packages wanted are in the suite itself; updates are left out to fetch fewer lists.
    first = next(line for line in sources() if line.endswith(f" {SUITE} main"))
    (root / "etc/sources.list").write_text(first + "\n")
    listed = " ".join(f'"{name}";' for name in architectures)
    lines = [
        f'Dir "{root}"; Dir::Etc "etc"; Dir::State "state"; Dir::State::status "{root}/status"; Dir::Cache "cache";',
        f'APT::Architecture "{architectures[0]}"; APT::Architectures {{ {listed} }};',
        'Acquire::Languages "none"; Acquire::GzipIndexes "true"; Acquire::IndexTargets::deb::Contents-deb "";',
        *settings(),
    ]
    configuration = root / "apt.conf"
    configuration.write_text("\n".join(lines) + "\n")
    return configuration


def _machine_targets() -> list[tuple[str, str, str]]:
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    listed = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    rows = [line.split(" ") for line in listed.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return SUITE
