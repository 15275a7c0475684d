"""macOS and Windows: what needs no engine works, the rest says in one line what it needs. Both are played here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PLAYED = Path(__file__).parent / "stage/other_system.py"


@pytest.fixture(params=["darwin", "win32"])
def elsewhere(request, program, trimaran):
    """Runs the installed package's command as on that system."""
    python = program.parent / "python"

    def run(*words: str | os.PathLike[str], exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(python), str(PLAYED), request.param, *map(os.fspath, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=trimaran.environment, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == exit_code, done.stderr
        return done

    return run


def test_images_of_registries_are_inspected(elsewhere, bases):
    assert f"Name:      {bases}/alpine:latest" in elsewhere("imagetools", "inspect", f"{bases}/alpine").stdout


def test_dockerfiles_are_checked(elsewhere, context, bases):
    context.dockerfile("from alpine as base\nMAINTAINER me\n")
    said = elsewhere("build", "--check", context, exit_code=1)
    assert "MaintainerDeprecated" in said.stdout
    context.write("inner/Dockerfile", "FROM alpine AS base\nARG A=1\n")
    assert "base" in elsewhere("build", "--call=targets", context / "inner").stdout
    assert '"instructions"' in elsewhere("dockerfile", "parse", "--format", "json", context / "Dockerfile").stdout


def test_a_link_out_of_the_context_is_not_followed(elsewhere, context, tmp_path):
    (tmp_path / "outside").write_text("FROM scratch\n")
    (context / "Dockerfile").symlink_to(tmp_path / "outside")
    assert "read Dockerfile: no such file" in elsewhere("build", "--check", context, exit_code=1).stderr


def test_a_build_says_what_it_needs(elsewhere, context):
    context.dockerfile("FROM scratch\n")
    said = elsewhere("build", context, exit_code=1).stderr
    assert said.startswith("ERROR: build: the embedded engine needs Linux\nhint: run it on Linux")


@pytest.mark.parametrize("command", ["images", "doctor", "du", "binfmt", "run"])
def test_other_commands_too(elsewhere, command):
    assert f'ERROR: run "{command}": the embedded engine needs Linux' in elsewhere(command, "x", exit_code=1).stderr


def test_help_and_completion_name_what_runs(elsewhere):
    shown = elsewhere("--help").stdout
    assert "imagetools" in shown
    assert "binfmt" not in shown
    assert "__complete" in elsewhere("completion", "bash").stdout
    assert elsewhere("__completeNoDesc", "im").stdout == "imagetools\n:4\n"
    assert elsewhere("__complete", "imagetools", "inspect", "").stdout == ":4\n", "there is no store"
    assert "credentials" in elsewhere("settings").stdout
    assert "--username" in elsewhere("login", "--help").stdout
