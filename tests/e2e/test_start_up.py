"""Start-up is a feature: what a build that has nothing to do loads, counted in the installed program.

Each module of ours costs about 0.2 ms of every command. A name that appears here is a decision: load it where it is
used, in the function that needs it, or raise the number and say why.
"""

from __future__ import annotations

import re

SEED = "FROM --platform=$TARGETPLATFORM {}/alpine\nCMD ls /root\n"
OURS = 205
"""Modules of ours that a cached push of two platforms may load."""
UNUSED = (
    "bake",
    "cli.reference",
    "cli.template",
    "doctor",
    "dockerfile.copying",
    "dockerfile.running",
    "engine.explain",
    "engine.explanations",
    "executor",
    "exporters.archive",
    "exporters.files",
    "exporters.folder",
    "exporters.load",
    "oci.archive",
    "oci.copy",
    "misses",
    "oci.layout",
    "server",
    "solver.reasons",
    "steps.aspects",
    "steps.exec",
    "steps.file",
    "steps.unpack",
    "store.fetching",
    "store.gc",
    "store.making",
    "store.page_rows",
    "store.pages",
    "store.prune",
    "store.render",
    "store.secret_key",
    "store.tombstones",
    "store.unpack",
    "tar",
    "testing",
)
"""Rooms and modules for steps that run, layers that are made, and other commands."""
HEAVY = {"email", "http.client", "isal", "json", "random", "secrets", "shutil", "tempfile", "tomllib", "zstandard"}
"""Of the standard library and our dependencies."""


PROCESSES = frozenset({"dockerfile.running", "executor", "executor.isolation", "executor.sandbox", "steps.exec"})
"""What a RUN that is a hit loads of what RUN needs: its flags, whether it is allowed, and in what it would run."""


def test_a_build_without_misses_loads_only_what_it_uses(trimaran, bases, context):
    (context / "Dockerfile").write_text(SEED.format(bases))
    line = ("build", "-t", f"{bases}/start-up:v1", "--platform=linux/arm64,linux/amd64", ".", "--push")
    plain = {"TRIMARAN_CONFIG": ""}  # most people have no settings, and reading some costs the TOML reader
    trimaran(*line, cwd=context.folder, env=plain)
    loaded = _loaded(trimaran(*line, cwd=context.folder, env={**plain, "PYTHONPROFILEIMPORTTIME": "1"}).stderr)
    ours = _ours(loaded)
    assert "engine.build" in ours
    assert _unused(ours) == []
    assert sorted(loaded & HEAVY) == []
    assert len(ours) <= OURS


def test_a_run_that_is_a_hit_loads_nothing_that_runs_it(trimaran, bases, context):
    (context / "Dockerfile").write_text(f"FROM {bases}/busybox\nRUN echo one > /one\n")
    line = ("build", "--progress=plain", ".")
    trimaran(*line, cwd=context.folder)
    said = trimaran(*line, cwd=context.folder, env={"PYTHONPROFILEIMPORTTIME": "1"}).stderr
    assert "CACHED" in said
    ours = _ours(_loaded(said))
    assert "steps.exec" in ours
    assert set(_unused(ours)) <= PROCESSES
    assert not ours & {"steps.mounts", "steps.process"}


def _loaded(said: str) -> set[str]:
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", said, re.M))


def _ours(loaded: set[str]) -> set[str]:
    return {name.removeprefix("trimaran.") for name in loaded if name.startswith("trimaran.")}


def _unused(ours: set[str]) -> list[str]:
    return sorted(name for name in ours if name in UNUSED or name.startswith(tuple(f"{one}." for one in UNUSED)))
