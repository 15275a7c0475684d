"""What is published: one pure wheel and an sdist, the same bytes whoever makes them, whole enough to be installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from stage.pythons import wheels

REPOSITORY = Path(__file__).parents[2]
PARTS = ("src", "man", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore")


def copy(folder: Path, *, mode: int) -> Path:
    """The sources as another person has them: other times, another umask."""
    for part in PARTS:
        source, target = REPOSITORY / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for path in folder.rglob("*"):
        path.chmod(mode | 0o111 if path.is_dir() else mode)
        os.utime(path, (mode * 1_000_000, mode * 1_000_000))
    return folder


def made(source: Path, kind: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    subprocess.run(command, cwd=source, check=True, capture_output=True, env=environment)
    (found,) = folder.iterdir()
    return found


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_same_bytes_whoever_makes_them(tmp_path, kind):
    first = made(copy(tmp_path / "a", mode=0o644), kind, tmp_path / "first")
    second = made(copy(tmp_path / "b", mode=0o664), kind, tmp_path / "second")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_the_wheel_is_pure_and_what_the_sdist_gives(tmp_path):
    source = copy(tmp_path / "source", mode=0o644)
    wheel = made(source, "wheel", tmp_path / "wheel")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "trimaran/py.typed" in names
    assert not [name for name in names if not name.startswith("trimaran")], "nothing beside the package"
    with tarfile.open(made(source, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert made(unpacked, "wheel", tmp_path / "again").read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("line", ["uv tool install trimaran", "pipx install trimaran", "pip install trimaran"])
def test_the_lines_of_the_readme(line, tmp_path):
    """With the wheels that `./run` made instead of an index."""
    assert line in (REPOSITORY / "README.md").read_text()
    (tmp_path / "bin").mkdir()
    tools = Path(sys.executable).parent
    environment = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        **dict.fromkeys(("UV_OFFLINE", "UV_NO_INDEX", "UV_NO_CACHE", "UV_NO_CONFIG", "PIP_NO_INDEX"), "1"),
        **dict.fromkeys(("UV_FIND_LINKS", "PIP_FIND_LINKS"), str(wheels())),
        **dict.fromkeys(("UV_TOOL_BIN_DIR", "PIPX_BIN_DIR"), str(tmp_path / "bin")),
        "UV_TOOL_DIR": str(tmp_path / "uv"),
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIP_CONFIG_FILE": os.devnull,
    }
    if line.startswith("pip "):
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "own"], check=True)
        environment["PATH"] = f"{tmp_path}/own/bin:/usr/bin:/bin"
        (tmp_path / "bin").rmdir()
        (tmp_path / "bin").symlink_to(tmp_path / "own/bin")
    done = subprocess.run(line.split(), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = subprocess.run([tmp_path / "bin/trimaran", "version"], env=environment, capture_output=True, text=True)
    assert said.stdout.startswith("trimaran "), said.stderr
    assert list(tmp_path.rglob("share/man/man1/trimaran-build.1")), "man pages come along"
