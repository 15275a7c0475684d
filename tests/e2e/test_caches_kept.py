"""What a shared cache gave stays: the next build hits it without naming the cache, which may be gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from stage.contexts import Context
from stage.program import Trimaran

from trimaran.testing.registry import FaultyRegistry

APP = """\
FROM alpine AS build
COPY sub /in
RUN cat /in/b.txt /in/b.txt > /twice
FROM alpine
WORKDIR /app
COPY a.txt /app/
COPY --from=build /twice /app/
RUN --mount=type=bind,from=build,source=/in,target=/mnt cat /mnt/b.txt a.txt > /app/both
RUN echo last > /app/last
"""
STEPS = 7


@pytest.fixture
def app(context: Context) -> Context:
    context.write("a.txt", f"{os.urandom(8).hex()}\n")
    context.write("sub/b.txt", f"{os.urandom(8).hex()}\n")
    return context.dockerfile(APP)


def build(command: Trimaran, app: Context, *words: str) -> str:
    """Build into the folder `out` of the home; what was said."""
    out = f"--output=type=local,dest={command.home}/out"
    return command("build", "--progress=plain", out, *words, os.fspath(app)).stderr


def outcomes(command: Trimaran) -> dict[str, tuple[str, str]]:
    """Instruction of each step of the last build, bases aside → (what became of it, where it came from)."""
    steps = json.loads(command("explain", "--json").stdout)["steps"]
    named = {step["name"].partition("] ")[2]: (step["outcome"], step["origin"]) for step in steps}
    return {name: outcome for name, outcome in named.items() if not name.startswith("FROM")}


def served(command: Trimaran) -> list[str]:
    """What of the last build did not run."""
    return [name for name, (outcome, _) in outcomes(command).items() if outcome != "ran"]


def given(command: Trimaran, app: Context, remote: FaultyRegistry, mode: str) -> str:
    """A store that has the app from a cache that another store wrote; the cache's name."""
    ref = f"{remote.host}/cache:v1"
    command("build", f"--cache-to=type=registry,ref={ref},mode={mode}", os.fspath(app))
    command.forget()
    build(command, app, "--fail-on-miss", f"--cache-from={ref}")
    return ref


def right(command: Trimaran, app: Context) -> None:
    out = command.home / "out/app"
    assert (out / "twice").read_text() == (app / "sub/b.txt").read_text() * 2
    assert (out / "both").read_text() == (app / "sub/b.txt").read_text() + (app / "a.txt").read_text()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_it_is_hit_when_the_cache_is_not_named_and_gone(
    either: Trimaran, bases: str, app: Context, remote: FaultyRegistry, mode: str
) -> None:
    ref = given(either, app, remote, mode)
    remote.fail("status", status=500, times=0)
    before = len(remote.requests)
    build(either, app, "--fail-on-miss")
    right(either, app)
    assert len(remote.requests) == before
    assert outcomes(either)["RUN echo last > /app/last"] == ("cached", ref)
    assert f"cached, from {ref}" in either("explain").stdout


def test_an_edit_runs_what_it_has_to_and_no_more(
    trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry
) -> None:
    given(trimaran, app, remote, "min")
    app.dockerfile(APP.replace("echo last", "echo other"))
    build(trimaran, app)
    assert [name for name, (outcome, _) in outcomes(trimaran).items() if outcome == "ran"] == [
        "RUN echo other > /app/last"
    ]
    right(trimaran, app)
    app.write("sub/b.txt", "another\n")
    build(trimaran, app)
    right(trimaran, app)
    assert outcomes(trimaran)["RUN cat /in/b.txt /in/b.txt > /twice"][0] == "ran"


def test_no_cache_and_what_was_pruned_run_again(
    trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry
) -> None:
    given(trimaran, app, remote, "max")
    assert trimaran("fsck").stdout.startswith("sound")
    build(trimaran, app, "--no-cache")
    assert set(served(trimaran)) <= {"WORKDIR /app"}, "which, as in BuildKit, the flag does not mean"
    trimaran.forget()
    given(trimaran, app, remote, "max")
    trimaran("prune", "--all", "--force")
    build(trimaran, app)
    assert not served(trimaran)
    right(trimaran, app)


def test_bytes_that_are_gone_are_made_again(
    trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry
) -> None:
    """A promise is not bytes: a layer that somebody took away is a step that runs."""
    given(trimaran, app, remote, "min")
    store = Path(trimaran.environment["TRIMARAN_ROOT"])
    for blob in (store / "blobs/sha256").iterdir():
        if blob.stat().st_size < 10_000:
            blob.unlink()
    build(trimaran, app)
    right(trimaran, app)
    assert "ran" in {outcome for outcome, _ in outcomes(trimaran).values()}


def test_a_step_whose_secret_counts_is_nobody_elses(
    trimaran: Trimaran, bases: str, context: Context, remote: FaultyRegistry
) -> None:
    """BuildKit's keys say nothing of secrets: what another secret gave is not served, be it named or kept."""
    context.dockerfile("FROM alpine\nRUN --mount=type=secret,id=token md5sum < /run/secrets/token > /said\n")
    token = trimaran.home / "token"
    secret, ref = f"--secret=id=token,src={token},cache-key=hash", f"{remote.host}/cache:v1"
    said = []
    for number, words in enumerate(([f"--cache-to=type=registry,ref={ref},mode=max"], [f"--cache-from={ref}"], [])):
        token.write_text(f"token {number}")
        build(trimaran, context, secret, *words)
        said.append((trimaran.home / "out/said").read_text())
    assert len(set(said)) == 3
