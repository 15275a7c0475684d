"""A cache is written while the build goes on: what is sent when, and what comes of it when the build does not end."""

from __future__ import annotations

import json
import os
import signal

import pytest
from stage.contexts import Context
from stage.leaks import await_no_leaks
from stage.program import Trimaran
from stage.watching import Screen, until

from trimaran.testing.registry import SLOW, FaultyRegistry

BIG = 3_000_000
STEPS = """\
FROM alpine AS other
RUN head -c 2000000 /dev/urandom > /thrown-away
FROM alpine
COPY big /
RUN head -c 2500000 /dev/urandom > /made
COPY --from=other /etc/passwd /other
"""
ENDLESS = STEPS + "RUN echo begun && sleep 300 & wait\n"
LAYERS = {"copied": BIG, "made": 2_500_000, "thrown away": 2_000_000}


@pytest.fixture
def app(context: Context) -> Context:
    context.write("big", os.urandom(BIG))
    return context


def sent(remote: FaultyRegistry) -> set[str]:
    """Which of the large layers are there: random bytes do not get smaller."""
    sizes = [len(raw) for raw in remote.blobs.values()]
    return {name for name, size in LAYERS.items() if any(size <= each < size + 100_000 for each in sizes)}


def cache_to(remote: FaultyRegistry, mode: str) -> str:
    return f"--cache-to=type=registry,ref={remote.host}/cache:v1,mode={mode}"


@pytest.mark.parametrize(("mode", "wanted"), [("max", set(LAYERS)), ("min", {"copied", "made"})])
def test_layers_are_sent_while_later_steps_run_and_a_build_that_ends_early_names_none(
    either: Trimaran, bases: str, app: Context, remote: FaultyRegistry, mode: str, wanted: set[str]
) -> None:
    app.dockerfile(ENDLESS)
    process = either.start("build", "--progress=plain", cache_to(remote, mode), os.fspath(app))
    Screen(process).until(r"^#\d+ \S+ begun$")
    until(lambda: wanted <= sent(remote), f"{wanted} are sent while the last step runs")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert not await_no_leaks(either.home, 5)
    assert process.wait(1) != 0
    assert sent(remote) == wanted
    assert not remote.manifests


def test_what_was_sent_early_is_not_sent_again_and_the_cache_is_the_same(
    trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry
) -> None:
    app.dockerfile(STEPS + "RUN sleep 1 && echo end > /end\n")
    trimaran("build", cache_to(remote, "max"), os.fspath(app))
    begun = [each for each in remote.seen("POST", "/cache/blobs/uploads/") if "mount=" not in each.query]
    assert len(begun) <= len(remote.blobs)
    asked = [each.path for each in remote.seen("HEAD", "/cache/blobs/")]
    assert len(asked) == len(set(asked)), "nothing is asked for twice"
    with FaultyRegistry() as second:
        trimaran("build", "--fail-on-miss", cache_to(second, "max"), os.fspath(app))
        assert second.manifests["cache", "v1"] == remote.manifests["cache", "v1"]
        assert set(second.blobs) == set(remote.blobs)


def test_nothing_is_sent_before_a_step_runs(
    trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry
) -> None:
    """Then the cache may be what it was: one question tells."""
    app.dockerfile(STEPS)
    trimaran("build", cache_to(remote, "max"), os.fspath(app))
    before = len(remote.requests)
    trimaran("build", cache_to(remote, "max"), os.fspath(app))
    asked = [(each.method, each.path) for each in remote.requests[before:] if each.path != "/v2/"]
    assert asked == [("HEAD", "/v2/cache/manifests/v1")]


def test_a_registry_that_stalls_holds_up_neither_steps_nor_the_end(
    trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry
) -> None:
    app.dockerfile(STEPS + "RUN echo end > /end\n")
    remote.fail(SLOW, method="POST", path="/uploads/", seconds=100, times=0)
    told = cache_to(remote, "max") + ",timeout=2"
    said = trimaran("build", "--progress=plain", "-t", "app", told, os.fspath(app), timeout=60).stderr
    (warning,) = [line for line in said.splitlines() if "WARN: cache is not exported" in line]
    assert f"export cache to {remote.host}/cache:v1: not done within 2 s" in warning
    assert trimaran("run", "app", "cat", "/end").stdout == "end\n"
    said = trimaran("build", f"{told},ignore-error=false", os.fspath(app), exit_code=1, timeout=60).stderr
    assert f"export cache to {remote.host}/cache:v1: not done within 2 s" in said
    assert "timeout=SECONDS of --cache-to gives it more" in said
    assert not remote.manifests


def test_a_folder_is_written_to_only_at_the_end(trimaran: Trimaran, bases: str, app: Context) -> None:
    """Blobs of a build that failed would stay in it for good."""
    folder = trimaran.home / "cache"
    app.dockerfile(STEPS + "RUN sleep 1; false\n")
    trimaran("build", f"--cache-to=type=local,dest={folder},mode=max", os.fspath(app), exit_code=1)
    assert not folder.exists()
    app.dockerfile(STEPS)
    trimaran("build", f"--cache-to=type=local,dest={folder},mode=max", os.fspath(app))
    assert json.loads((folder / "index.json").read_text())["manifests"]
