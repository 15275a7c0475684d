"""Every case of tests/goldens is built, and has to give what real BuildKit gave: config, history and files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from stage.program import Trimaran

from goldens import base, cases, golden
from goldens.images import Tree, archive, images

CASES = cases.read_all()


@pytest.fixture(scope="module")
def trees(bases: str) -> dict[str, Tree]:
    return base.trees(bases)


@pytest.mark.root
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_build_gives_what_buildkit_gave(
    case: cases.Case, trimaran: Trimaran, bases: str, trees: dict[str, Tree], tmp_path: Path
):
    built = _build(case, trimaran, bases, trees, tmp_path)
    lines = _unexpected(case, built)
    assert not lines, "\n" + "\n".join(lines)


def test_every_case_was_recorded():
    assert CASES
    assert [case.name for case in CASES if not case.golden.exists()] == []


def _build(
    case: cases.Case, trimaran: Trimaran, registry: str, trees: dict[str, Tree], folder: Path
) -> dict[str, object]:
    if case.base:
        base.push(registry, case.base_name, case.base)
    context, output = folder / "context", folder / "output.tar"
    context.mkdir()
    case.write_context(context)
    begun = int(time.time())
    trimaran("build", "--output", f"type=oci,dest={output}", *case.options, ".", cwd=context)
    with archive(output) as (opened, descriptor):
        found = images(opened, descriptor)
    return golden.document(found, {name: {} if case.scratch else trees[name] for name in found}, begun)


def _unexpected(case: cases.Case, built: dict[str, object]) -> list[str]:
    recorded = json.loads(case.golden.read_text())["platforms"]
    lines = golden.differences(built, recorded)
    return [line for line in lines if not any(line.startswith(place) for place in case.allowed)]
