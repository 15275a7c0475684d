"""A cache that more may write than are trusted (T61): what was not signed with the key is a miss, never an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from stage.contexts import Context
from stage.program import Trimaran

from trimaran.testing.registry import FaultyRegistry

KEY = "a-key-that-only-trusted-jobs-have-3141592653"
APP = """\
FROM alpine
RUN --mount=type=secret,id=s cat /run/secrets/s > /one
RUN cat /one > /two
"""


@pytest.fixture
def app(context: Context) -> Context:
    return context.dockerfile(APP)


@pytest.fixture
def key(trimaran: Trimaran) -> Path:
    path = trimaran.home / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    return path


def build(command: Trimaran, app: Context, secret: str, *words: str, exit_code: int = 0, **variables: str) -> str:
    """In a store of its own. What a secret is, is in no key: so two who build the same may come to another result."""
    command.forget()
    words = ("build", "--progress=plain", "--secret=id=s,env=S", *words, f"--output={command.home}/out", os.fspath(app))
    return command(*words, exit_code=exit_code, env={"S": secret, **variables}).stderr


def result(command: Trimaran) -> str:
    return (command.home / "out/two").read_text()


def warnings(said: str) -> list[str]:
    return [line.partition("WARN: ")[2] for line in said.splitlines() if "WARN: " in line]


def test_what_a_stranger_writes_is_not_used(
    trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry, key: Path
) -> None:
    ref = f"type=registry,ref={remote.host}/cache:v1"
    reading = f"--cache-from={ref},sign-key=env:CACHE_KEY"
    build(trimaran, app, "good", f"--cache-to={ref},mode=max,sign-key={key}")
    honest = remote.manifests["cache", "v1"]
    said = build(trimaran, app, "mine", reading, "--fail-on-miss", CACHE_KEY=KEY)
    assert (result(trimaran), warnings(said)) == ("good", [])
    build(trimaran, app, "mine", f"--cache-from={ref}", "--fail-on-miss")
    assert result(trimaran) == "good", "who names no key reads it as any other"

    build(trimaran, app, "POISON", f"--cache-to={ref},mode=max")
    said = build(trimaran, app, "mine", reading, CACHE_KEY=KEY)
    assert result(trimaran) == "mine"
    (warning,) = warnings(said)
    assert warning == f"cache of {remote.host}/cache:v1 is not used: check its signature: it has none"
    build(trimaran, app, "mine", f"--cache-from={ref}", "--fail-on-miss")
    assert result(trimaran) == "POISON", "this test is void where the cache is not poisoned"

    build(trimaran, app, "POISON", f"--cache-to={ref},mode=max,sign-key=env:CACHE_KEY", CACHE_KEY=KEY[::-1])
    said = build(trimaran, app, "mine", reading, CACHE_KEY=KEY)
    assert (result(trimaran), len(warnings(said))) == ("mine", 1)

    remote.put_manifest("cache", "v2", *honest)
    said = build(trimaran, app, "mine", reading.replace(":v1", ":v2"), CACHE_KEY=KEY)
    assert result(trimaran) == "mine", "a signed cache is none of another name"
    assert f"it is not one of this key for {remote.host}/cache:v2" in warnings(said)[0]
    named = f"{reading.replace(':v1', ':v2')},sign-scope={remote.host}/cache:v1"
    build(trimaran, app, "mine", named, "--fail-on-miss", CACHE_KEY=KEY)
    assert result(trimaran) == "good", "unless that is wanted"


def test_without_the_key_nothing_is_written_and_the_build_is_good(
    trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry
) -> None:
    """The job of a stranger's pull request: secrets are empty there."""
    ref = f"type=registry,ref={remote.host}/cache:v1,sign-key=env:CACHE_KEY"
    said = build(trimaran, app, "mine", f"--cache-from={ref}", f"--cache-to={ref},mode=max", CACHE_KEY="")
    assert result(trimaran) == "mine"
    assert warnings(said) == [
        f"cache of {remote.host}/cache:v1 is not used: sign: there is no key in $CACHE_KEY",
        f"cache is not exported to {remote.host}/cache:v1: sign: there is no key in $CACHE_KEY",
    ]
    assert not remote.requests, "neither blobs nor a manifest"
    said = build(trimaran, app, "mine", f"--cache-to={ref},ignore-error=false", exit_code=1)
    assert "sign: there is no key in $CACHE_KEY" in said
    said = build(trimaran, app, "mine", f"--cache-from={ref.partition(',sign')[0]}", f"--cache-to={ref}", exit_code=1)
    assert "whatever somebody put there would be signed, too" in said
