"""argv to exit code: help, unknown words, docker's way of calling its plugins, errors as text."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types
from typing import Any

import pytest

from trimaran.cli import commands
from trimaran.cli.main import main


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["trimaran", *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(autouse=True)
def _no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", "BUILDKIT_PROGRESS", "DOCKER_DEFAULT_PLATFORM"):
        monkeypatch.delenv(name, raising=False)


def test_no_words_show_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys=capsys)
    assert code == 0
    assert out.startswith("Usage:  trimaran [OPTIONS] COMMAND\n")
    assert "  build " in out


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("biuld", ".", capsys=capsys)
    assert (code, err) == (1, 'ERROR: unknown command: "biuld"\nhint: did you mean build?\n')
    assert out.startswith("Usage:")


def test_command_of_buildx_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("bake", capsys=capsys)
    assert code == 1
    assert err.startswith('ERROR: run "bake": not done')
    assert "hint: " in err


def test_unknown_flag(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("build", "--platfrom", "x", ".", capsys=capsys)
    assert code == 1
    assert err.startswith("ERROR: unknown flag: --platfrom\nhint: did you mean --platform?\n\nUsage:  trimaran build ")


def test_docker_prints_flag_errors_bare_and_exits_125(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", "docker")
    code = main(["/x/docker-buildx", "--config", "/tmp/none", "buildx", "build", "-Z", "."])
    err = capsys.readouterr().err
    assert code == 125
    assert err == (
        "unknown shorthand flag: 'Z' in -Z\n\nUsage:  docker buildx build [OPTIONS] PATH | URL | -\n\n"
        "Run 'docker buildx build --help' for more information\n"
    )


def test_wrong_number_of_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("build", capsys=capsys)
    assert code == 1
    assert err.startswith("ERROR: trimaran: 'trimaran build' requires 1 argument\n\nUsage:")


@pytest.mark.parametrize("name", list(commands.TABLE))
def test_help_of_every_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(*name.split(), "--help", capsys=capsys)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage:  trimaran {commands.command(name).usage}")
    assert all(len(line) <= 85 for line in out.splitlines() if "trimaran" not in line)


@pytest.mark.parametrize("name", list(commands.TABLE))
def test_the_table_agrees_with_the_commands(name: str) -> None:
    module = commands.load(name)
    assert module.COMMAND.path == name
    assert module.COMMAND.summary == commands.TABLE[name][2]
    assert callable(module.run)


def loaded(*words: str) -> set[str]:
    code = (
        "import sys\nfrom trimaran.cli.main import main\n"
        f"main(['trimaran', *{list(words)!r}])\nsys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("words", [("--help",), ("build", "--help"), ("version",)])
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded(*words) & {"asyncio", "ssl", "sqlite3", "subprocess", "h11", "zstandard", "tempfile"} == set()


def best_of(seconds: list[float]) -> float:
    return min(seconds)


@pytest.mark.slow
def test_version_starts_fast() -> None:
    """At most four times `python -c pass`."""

    def timed(*argv: str) -> float:
        times = []
        for _ in range(10):
            begun = time.perf_counter()
            subprocess.run([sys.executable, *argv], check=True, capture_output=True)
            times.append(time.perf_counter() - begun)
        return best_of(times)

    assert timed("-m", "trimaran", "--version") <= 4 * timed("-c", "pass")


def test_nobody_reads(tmp_path: object) -> None:
    """`trimaran --help | head -0` is no traceback."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "trimaran", "--help"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "meanwhile"), [(signal.SIG_IGN, signal.SIG_IGN), (signal.default_int_handler, signal.SIG_DFL)]
)
def test_ctrl_c_ends_the_start_unless_it_is_ignored(
    monkeypatch: pytest.MonkeyPatch, given: Any, meanwhile: Any
) -> None:
    """As by nohup or in a script's background: there it ended a build that had just been started."""
    from trimaran import __main__ as program

    seen: list[object] = []

    class Loaded(types.ModuleType):
        @property
        def main(self) -> Any:
            seen.append(signal.getsignal(signal.SIGINT))
            return lambda: seen.append(signal.getsignal(signal.SIGINT)) or 0

    monkeypatch.setitem(sys.modules, "trimaran.cli.main", Loaded("trimaran.cli.main"))
    monkeypatch.setattr(program, "_leave", lambda code: None)
    monkeypatch.setattr(program.gc, "set_threshold", lambda *_: None)
    before = signal.signal(signal.SIGINT, given)
    try:
        assert program.main() == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [meanwhile, given]
