"""A cache in a bucket, written while the build goes on; and what a bucket that is slow or refuses does to a build."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from stage.bucket import FaultyBucket
from stage.contexts import Context
from stage.leaks import await_no_leaks
from stage.program import Trimaran
from stage.watching import Screen, until

BIG, MADE = 9_000_000, 2_500_000
"""The first is sent in parts."""
STEPS = """\
FROM alpine
COPY big /
RUN head -c 2500000 /dev/urandom > /made
"""
SLEEPS = "RUN echo begun && sleep 300 & wait\n"


@pytest.fixture
def bucket() -> Iterator[FaultyBucket]:
    with FaultyBucket() as running:
        yield running


@pytest.fixture
def app(trimaran: Trimaran, bases: str, context: Context) -> Context:
    trimaran.environment["AWS_EC2_METADATA_DISABLED"] = "true"
    context.write("big", os.urandom(BIG))
    return context.dockerfile(STEPS)


def large(bucket: FaultyBucket) -> list[int]:
    return sorted(size // 100_000 for size in bucket.blobs() if size >= MADE)


def build(command: Trimaran, app: Context, *words: str, exit_code: int = 0) -> str:
    return command("build", "--progress=plain", *words, os.fspath(app), exit_code=exit_code, timeout=60).stderr


def warnings(said: str) -> list[str]:
    return [line.partition("WARN: ")[2] for line in said.splitlines() if "WARN: " in line]


def test_layers_are_there_before_the_last_step_ends_and_the_cache_is_good(
    trimaran: Trimaran, app: Context, bucket: FaultyBucket
) -> None:
    """A killed build leaves blobs that no config names; the next one sends the rest alone. Busy twice is no matter."""
    bucket.refuse(status=503, code="SlowDown", times=2)
    to = f"--cache-to={bucket.attributes},mode=max"
    app.dockerfile(STEPS + SLEEPS)
    process = trimaran.start("build", "--progress=plain", to, os.fspath(app))
    Screen(process).until(r"^#\d+ \S+ begun$")
    until(lambda: large(bucket) == [25, 90], "both layers are there while the last step runs")
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert not await_no_leaks(trimaran.home, 5)
    assert not [key for key in bucket.objects if key.startswith("manifests/")]
    before, since = set(bucket.objects), len(bucket.requests)
    app.dockerfile(STEPS + "RUN echo end > /end\n")
    build(trimaran, app, to)
    sent = {
        path.partition("/caches/")[2].partition("?")[0]
        for method, path, _ in bucket.requests[since:]
        if method == "PUT"
    }
    assert {key.replace("%3A", ":") for key in sent} == set(bucket.objects) - before
    assert trimaran("fsck").returncode == 0
    trimaran.forget()
    build(trimaran, app, "--fail-on-miss", f"--cache-from={bucket.attributes}", f"--output={trimaran.home}/out")
    assert (trimaran.home / "out/big").read_bytes() == (app / "big").read_bytes()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"status": 503, "code": "SlowDown"}, "Service Unavailable|not done within 3 s"),
        ({"status": 403, "code": "ExpiredToken"}, "head s3://caches/blobs/"),
        ({"method": "POST", "path": "uploads", "status": 501, "code": "NotImplemented"}, "we say NotImplemented"),
        ({"method": "PUT", "seconds": 100.0}, "not done within 3 s"),
    ],
    ids=["busy", "expired", "no parts", "slow"],
)
def test_a_bucket_that_fails_is_one_warning_in_its_time(
    trimaran: Trimaran, app: Context, bucket: FaultyBucket, rule: dict[str, Any], words: str
) -> None:
    bucket.refuse(**rule)
    to = f"--cache-to={bucket.attributes},mode=max,timeout=3"
    begun = time.monotonic()
    said = build(trimaran, app, to, "-t", "app")
    (warning,) = warnings(said)
    assert warning.startswith("cache is not exported to s3 bucket caches: ")
    assert re.search(words, warning)
    assert "a secret" not in said
    assert time.monotonic() - begun < 20, "3 s for the cache, and what a build takes"
    if "seconds" not in rule:
        assert re.search(words, build(trimaran, app, f"{to},ignore-error=false", exit_code=1))
    assert not [key for key in bucket.objects if key.startswith("manifests/")]


@pytest.mark.parametrize("how", ["interrupted", "failing"])
def test_a_build_that_ends_early_waits_for_no_bucket(
    trimaran: Trimaran, app: Context, bucket: FaultyBucket, how: str
) -> None:
    bucket.refuse(method="PUT", seconds=300)
    app.dockerfile(STEPS + (SLEEPS if how == "interrupted" else "RUN echo begun; sleep 2; false\n"))
    process = trimaran.start("build", "--progress=plain", f"--cache-to={bucket.attributes},mode=max", os.fspath(app))
    Screen(process).until(r"^#\d+ \S+ begun$")
    until(lambda: [each for each in bucket.requests if each[0] == "PUT"], "a layer is on its way")
    if how == "interrupted":
        process.send_signal(signal.SIGINT)
    assert not await_no_leaks(trimaran.home, 7)
    assert process.wait(1) == (130 if how == "interrupted" else 1)
    assert trimaran("fsck").returncode == 0
