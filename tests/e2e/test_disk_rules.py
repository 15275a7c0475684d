"""What goes first: buildx's filters of `prune`, and buildkitd's rules in the settings, on a store that was really filled."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from stage.contexts import Context
from stage.program import Trimaran

pytestmark = pytest.mark.root
TEXT = """FROM alpine
RUN --mount=type=cache,target=/c head -c 2000000 /dev/urandom > /c/cached
RUN head -c 3000000 /dev/urandom > /first
RUN head -c 3000000 /dev/urandom > /second
"""


def rows(command: Trimaran, *words: str) -> dict[str, dict[str, Any]]:
    """Each record of `du`, by what it is for."""
    found = (json.loads(line) for line in command("du", "--format", "json", *words).stdout.splitlines())
    return {row["Description"]: row for row in found}


@pytest.fixture
def filled(trimaran: Trimaran, bases: str, context: Context) -> Trimaran:
    context.dockerfile(TEXT)
    trimaran("build", "-o", "type=cacheonly", ".", cwd=context.folder)
    return trimaran


def test_each_filter_of_buildx(filled: Trimaran) -> None:
    """What `prune --dry-run` would take is what the filter says, and what `du` shows of it."""
    every = rows(filled)
    layers = {text: row for text, row in every.items() if row["Type"] == "regular"}
    (first,) = (row["ID"] for text, row in layers.items() if "/first" in text)
    (second,) = (row["ID"] for text, row in layers.items() if "/second" in text)
    (mount,) = (row["ID"] for row in every.values() if row["Type"] == "exec.cachemount")
    regular = {row["ID"] for row in layers.values()}
    expected = {
        f"id={second}": {second},
        f"id!={second}": (regular | {mount}) - {second},
        f"id~={second[:8]}": {second},
        "description~=head.*second": {second},
        f"parents={first}": {second},
        "type=exec.cachemount": {mount},
        "type==regular": regular,
        "mutable": {mount},
        "mutable=true": {mount},
        "immutable": regular,
        "inuse=true": set(),
        "inuse!=true": regular | {mount},
        "shared": set(),
        "private": regular | {mount},
        "type=regular,description~=second": {second},
    }
    for text, wanted in expected.items():
        found = {row["ID"] for row in rows(filled, "--filter", text).values() if row["Type"] != "internal"}
        assert found == wanted, text
        said = filled("prune", "--dry-run", "--all", "--filter", text).stdout
        taken = {name for name in regular | {mount} if re.search(rf"^{re.escape(name)}\*?\s", said, re.M)}
        below = regular - {second} if second not in wanted else set()  # a stack goes from its top
        assert taken >= wanted - below, text
    assert filled("prune", "--dry-run", "--all", "--filter", "until=24h").stdout.count("\nrun-") == 0
    for text in ("colour=red", "id~=("):
        assert "parse filter" in filled("prune", "--force", "--filter", text, exit_code=1).stderr
    assert rows(filled).keys() == every.keys(), "nothing went"
    filled("prune", "--force", "--filter", "type=exec.cachemount")
    assert {row["ID"] for row in rows(filled).values() if row["Type"] != "internal"} == regular


def test_rules_of_buildkitd_in_the_settings(filled: Trimaran, bases: str, context: Context) -> None:
    """Applied in order when a build ends: cache mounts go by the first rule, the least used layer by the second."""
    kept = filled.settings.read_text()
    rules = """
    [worker.oci]
    gc = true
    [[worker.oci.gcpolicy]]
    filters = ["type==exec.cachemount"]
    maxUsedSpace = 1000
    [[worker.oci.gcpolicy]]
    all = true
    reservedSpace = "1MB"
    maxUsedSpace = "8MB"
    keepDuration = 0
    """
    filled.settings.write_text(kept + rules)
    (filled.root / "collected").unlink(missing_ok=True)
    other = Context(context.folder.parent / "other").dockerfile("FROM alpine\nRUN echo other > /other\n")
    filled("build", "-o", "type=cacheonly", ".", cwd=other.folder)
    left = rows(filled)
    assert not [row for row in left.values() if row["Type"] == "exec.cachemount"]
    assert any("/other" in text for text in left)
    assert any("/first" in text for text in left), "a stack goes from its top"
    assert not any("/second" in text for text in left)
    (filled.root / "collected").unlink()
    filled.settings.write_text(kept + "[worker]\ngc = false\nmaxUsedSpace = 1000\n")
    filled("build", "-o", "type=cacheonly", ".", cwd=other.folder)
    assert rows(filled).keys() >= left.keys(), "no collection at all"
