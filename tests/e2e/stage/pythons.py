"""The Pythons of this machine, and clean environments with the wheel on them.

Run as a script it prints their versions, for the set-up that gets wheels for them; so it needs nothing but a Python.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
WORK = Path(__file__).parents[3] / ".work"
_ASK = "import json, sys; print(json.dumps([sys.version_info[:2], sys.implementation.name]))"


@functools.cache
def pythons() -> dict[str, Path]:
    """Version ("3.12") to a CPython of it: this one, and what PATH, pyenv and uv have."""
    own = sys.version_info[:2]
    found = {own: Path(sys.base_prefix) / "bin" / f"python{own[0]}.{own[1]}"}
    homes = [Path.home() / ".pyenv/versions", Path.home() / ".local/share/uv/python"]
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *(str(p) for h in homes for p in h.glob("*/bin"))]
    for folder in folders:
        for path in sorted(Path(folder or ".").glob("python3.[0-9]*")):
            if path.name.count(".") == 1 and path.name[9:].isdigit() and (version := _version(path)):
                found.setdefault(version, path)
    return {f"{major}.{minor}": path for (major, minor), path in sorted(found.items()) if (major, minor) >= OLDEST}


def _version(path: Path) -> tuple[int, int] | None:
    """What answers there; pyenv's shims are on PATH for versions that are not chosen."""
    try:
        done = subprocess.run([path, "-c", _ASK], capture_output=True, check=True, timeout=30)
        (major, minor), implementation = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return (major, minor) if implementation == "cpython" else None


def wheels() -> Path:
    """The folder with the wheel and the wheels of all that it needs."""
    return Path(os.environ.get("TRIMARAN_WHEELS") or WORK / "wheels")


def with_wheels() -> dict[str, Path]:
    """Those of `pythons` that the set-up got wheels for: our own always, others when somebody publishes them."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"

    def has(version: str) -> bool:
        return version == own or any(wheels().glob(f"msgspec-*-cp{version.replace('.', '')}-*"))

    return {version: path for version, path in pythons().items() if has(version)}


def environment(folder: Path, python: Path, *packages: str) -> Path:
    """A new environment in `folder` with nothing but `packages` (else the wheel and what it asks for); its program.

    Nothing is fetched.
    """
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    what = ["--no-deps", *packages] if packages else ["trimaran"]
    # pip of one Python is not for all others.
    install = [sys.executable, "-m", "uv", "pip", "install", "--python", folder / "bin/python", "--no-config"]
    source = ["--offline", "--no-cache", "--no-index", "--find-links", wheels()]
    done = subprocess.run([*install, *source, *what], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "bin/trimaran"


def python_zstd(program: Path) -> None:
    """Give `program`'s environment `compression.zstd` as Python 3.14 has it: its authors publish it for older ones."""
    import backports.zstd  # type: ignore[import-not-found, unused-ignore]

    (site,) = program.parent.parent.glob("lib/python3*/site-packages")
    (source,) = {Path(backports.zstd.__file__).parent}
    shutil.copytree(source, site / "backports/zstd", ignore=shutil.ignore_patterns("__pycache__"))
    package = site / "compression"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "zstd.py").write_text("from backports.zstd import *\n")


if __name__ == "__main__":
    print(" ".join(pythons()))
