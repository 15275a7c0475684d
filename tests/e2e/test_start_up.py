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


def test_a_build_without_misses_loads_only_what_it_uses(trimaran, bases, context):
    (context / "Dockerfile").write_text(SEED.format(bases))
    line = ("build", "-t", f"{bases}/start-up:v1", "--platform=linux/arm64,linux/amd64", ".", "--push")
    plain = {"TRIMARAN_CONFIG": ""}  # most people have no settings, and reading some costs the TOML reader
    trimaran(*line, cwd=context.folder, env=plain)
    said = trimaran(*line, cwd=context.folder, env={**plain, "PYTHONPROFILEIMPORTTIME": "1"}).stderr
    loaded = set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", said, re.M))
    ours = {name.removeprefix("trimaran.") for name in loaded if name.startswith("trimaran.")}
    assert "engine.build" in ours
    assert sorted(name for name in ours if name.startswith(tuple(f"{unused}." for unused in UNUSED))) == []
    assert sorted(ours & set(UNUSED)) == []
    assert sorted(loaded & HEAVY) == []
    assert len(ours) <= OURS
