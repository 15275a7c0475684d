"""A cache is written while the build goes on: what is sent when, and what comes of it when the build does not end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest
from stage.contexts import Context
from stage.faulty import lacking, uploads
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


@pytest.fixture
def registry_with_cache(trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry) -> FaultyRegistry:
    """A cache under v1, of the same steps over other bytes."""
    app.dockerfile(STEPS)
    trimaran("build", cache_to(remote, "max"), os.fspath(app))
    app.write("big", os.urandom(BIG))
    return remote


Reached = Callable[[FaultyRegistry, int], object]
POINTS: dict[str, tuple[str, str, Reached]] = {
    "an upload is begun": ("POST", "/uploads/", lambda remote, since: asked(remote, since, "POST", "/uploads/")),
    "a layer is on its way": ("PUT", "/uploads/", lambda remote, since: largest(remote, since) > 1_000_000),
    "layers were sent": ("", "", lambda remote, since: len(uploads(remote, since)) >= 2),
    "the manifest is on its way": ("PUT", "/manifests/", lambda remote, since: asked(remote, since, "PUT", "/manif")),
}
"""When a build is killed: which request is held up by then, and how one sees that it has come to it."""


def asked(remote: FaultyRegistry, since: int, method: str, path: str) -> bool:
    return any(each.method == method and path in each.path for each in remote.requests[since:])


def largest(remote: FaultyRegistry, since: int) -> int:
    """Bytes of the largest piece of a blob that came."""
    return max((each.size for each in remote.requests[since:] if "/uploads/" in each.path), default=0)


def temporary(command: Trimaran) -> list[str]:
    """Temp files, and builds that count as running, of the command's store."""
    return [str(path) for name in ("temp", "live") for path in (command.root / name).rglob("*")]


def test_killed_at_any_point_it_harms_neither_registry_nor_store_and_is_taken_up(
    trimaran: Trimaran, app: Context, registry_with_cache: FaultyRegistry
) -> None:
    """Each kill is followed by the next build, which meets what the one before left."""
    remote = registry_with_cache
    named = remote.manifests["cache", "v1"]
    for point, (method, path, reached) in POINTS.items():
        app.write("big", os.urandom(BIG))
        app.dockerfile(STEPS + "RUN echo end > /end\n" if path == "/manifests/" else ENDLESS)
        held = [remote.fail(SLOW, method=method, path=path, seconds=300)] if path else []
        since = len(remote.requests)
        process = trimaran.start("build", "--progress=plain", cache_to(remote, "max"), os.fspath(app))
        until(lambda reached=reached, since=since: reached(remote, since), point)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        assert not await_no_leaks(trimaran.home, 5), point
        assert process.wait(1) == -signal.SIGKILL
        assert temporary(trimaran), "this test is void when nothing was left to sweep"
        assert remote.manifests["cache", "v1"] == named, point
        assert lacking(remote) == [], point
        assert trimaran("fsck").returncode == 0, point
        remote.faults = [each for each in remote.faults if each not in held]
    before, since = set(remote.blobs), len(remote.requests)
    app.dockerfile(STEPS + "RUN echo end > /end\n")
    trimaran("build", cache_to(remote, "max"), os.fspath(app))
    assert not temporary(trimaran)
    assert {("cache", digest) for digest in uploads(remote, since)} == set(remote.blobs) - before
    assert remote.manifests["cache", "v1"] != named
    assert lacking(remote) == []
    trimaran.forget()
    words = ("--fail-on-miss", f"--cache-from={remote.host}/cache:v1", f"--output={trimaran.home}/out")
    trimaran("build", *words, os.fspath(app))
    assert (trimaran.home / "out/big").read_bytes() == (app / "big").read_bytes()


@pytest.mark.parametrize("how", ["interrupted", "failing"])
def test_a_build_that_ends_early_waits_for_no_upload_and_leaves_nothing(
    trimaran: Trimaran, app: Context, registry_with_cache: FaultyRegistry, how: str
) -> None:
    """The registry takes five minutes for a layer; the build is over at once, and the next one sends what is missing."""
    remote = registry_with_cache
    named = remote.manifests["cache", "v1"]
    waiting = f"until wget -q -O /dev/null http://{remote.host}/v2/cache/manifests/go; do sleep 0.1; done"
    app.dockerfile(f"{STEPS}RUN {waiting}; false\n")
    held = remote.fail(SLOW, method="PUT", path="/uploads/", seconds=300)
    since = len(remote.requests)
    process = trimaran.start("build", "--progress=plain", cache_to(remote, "max"), os.fspath(app))
    until(lambda: largest(remote, since) > 1_000_000, "a layer is on its way")
    until(lambda: asked(remote, since, "GET", "/manifests/go"), "the last step runs")
    if how == "interrupted":
        process.send_signal(signal.SIGINT)
    else:
        remote.put_manifest("cache", "go", "application/json", b"{}")
    assert not await_no_leaks(trimaran.home, 5)
    assert process.wait(1) == (130 if how == "interrupted" else 1)
    assert not temporary(trimaran)
    assert remote.manifests["cache", "v1"] == named
    assert lacking(remote) == []
    assert trimaran("fsck").returncode == 0
    assert held not in remote.faults, "this test is void when nothing was held up"
    before, since = set(remote.blobs), len(remote.requests)
    app.dockerfile(STEPS)
    trimaran("build", "--fail-on-miss", cache_to(remote, "max"), os.fspath(app))
    assert {("cache", digest) for digest in uploads(remote, since)} == set(remote.blobs) - before
    assert remote.manifests["cache", "v1"] != named


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


def test_a_cache_takes_no_room_that_the_build_needs(
    trimaran: Trimaran, bases: str, context: Context, remote: FaultyRegistry
) -> None:
    """Near the limit what was made ahead goes, and the cache is given up: the build is as it is without."""
    step = "RUN head -c {} /dev/urandom > /made{}; sleep 2\n"
    steps = "".join(step.format(size, number) for number, size in enumerate((8_000_000, 8_000_000, 16_000_000)))
    context.dockerfile(f"FROM alpine\n{steps}RUN cat /made* | wc -c > /size\n")
    words = ("build", "--progress=plain", "--cache-limit=45mb", f"--output={trimaran.home}/out", os.fspath(context))
    trimaran(*words)
    trimaran.forget()
    said = trimaran(*words, f"--cache-to=type=registry,ref={remote.host}/cache:v1,mode=max").stderr
    assert (trimaran.home / "out/size").read_text() == "32000000\n"
    assert [line for line in said.splitlines() if "WARN: cache is not exported" in line and "cache limit" in line]
    assert not remote.manifests
    assert trimaran("fsck").returncode == 0
