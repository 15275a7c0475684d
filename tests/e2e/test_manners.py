"""What is expected of a guest: no connection but those that were asked for, no colour where none is wanted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stage.contexts import Context
from stage.program import Trimaran
from stage.terminal import session

WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        where = arguments[1] if event != "socket.getaddrinfo" else arguments[:2]
        with open(os.environ["CONNECTIONS"], "a") as file:
            file.write(f"{event} {where!r}\\n")
sys.addaudithook(watch)
"""
"""Python says it to whoever asks, of every connection of every Python process of the command."""


@pytest.fixture
def watched(trimaran: Trimaran):
    """Runs a command; gives the connections it made."""
    (trimaran.home / "watch").mkdir()
    (trimaran.home / "watch/sitecustomize.py").write_text(WATCH)
    log = trimaran.home / "connections"
    environment = {"PYTHONPATH": str(trimaran.home / "watch"), "CONNECTIONS": str(log)}

    def run(*words, exit_code: int | None = 0, cwd: Path | None = None) -> list[str]:
        log.write_text("")
        trimaran(*words, env=environment, exit_code=exit_code, cwd=cwd)
        return log.read_text().splitlines()

    return run


def test_no_connection_but_the_builds_own(watched, trimaran, registry, bases, context: Context) -> None:
    """No telemetry, no check for updates: what is connected to is the registry that was named, and it is seen."""
    context.dockerfile("FROM alpine\nRUN true\nCOPY Dockerfile /\n")
    host, port = registry.split(":")
    reference = f"{registry}/manners:1"
    asked = watched("build", "-t", reference, "--push", context)
    asked += watched("imagetools", "inspect", reference)
    assert asked, "the hook sees what is connected to"
    assert [line for line in asked if f"('{host}', {port})" not in line] == []


@pytest.mark.parametrize(
    "line",
    ["--version", "version", "--help", "doctor", "images", "du", "fsck", "settings", "ls", "inspect", "logs",
     "build --check .", "prune -af", "plugin install", "plugin uninstall", "completion bash", "__complete run x"],
)  # fmt: skip
def test_no_connection_at_all(watched, trimaran, context: Context, line: str) -> None:
    context.dockerfile("FROM scratch\nCOPY Dockerfile /\n")
    trimaran("build", context)
    assert watched(*line.split(), exit_code=None, cwd=context.folder) == []


COLOURS = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-7]|38|4[0-7]|9[0-7])(?:;[0-9]+)*m")


@pytest.mark.parametrize("good", [True, False], ids=["builds", "fails"])
def test_no_color(trimaran: Trimaran, bases, context: Context, good: bool) -> None:
    """https://no-color.org: on a terminal, too, when the build fails and where warnings are shown."""
    context.dockerfile(f"from alpine AS base\nRUN {'true' if good else 'false'}\nCOPY Dockerfile /\n")
    for no_color in ("", "1"):
        trimaran.environment["NO_COLOR"] = no_color
        with session(trimaran, "build", "--no-cache", ".", cwd=context.folder) as terminal:
            assert (terminal.end() == 0) is good
        assert "RUN" in terminal.text
        assert bool(COLOURS.search(terminal.text)) is not bool(no_color), terminal.text
