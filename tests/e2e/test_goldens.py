"""Every case of tests/goldens is built, and has to give what real BuildKit gave: config, history and files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from stage.account import Account
from stage.contexts import open_folder
from stage.program import Trimaran

from goldens import base, cases, golden
from goldens.images import Tree, archive, images

CASES = cases.read_all()
ORDINARY = [case for case in CASES if not case.needs_root]


@pytest.fixture(scope="module")
def trees(bases: str) -> dict[str, Tree]:
    return base.trees(bases)


@pytest.mark.root
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_build_gives_what_buildkit_gave(
    case: cases.Case, trimaran: Trimaran, bases: str, trees: dict[str, Tree]
) -> None:
    _compare(case, trimaran, bases, trees)


@pytest.mark.rootless
@pytest.mark.parametrize("case", ORDINARY, ids=[case.name for case in ORDINARY])
def test_build_without_root_gives_the_same(
    case: cases.Case, rootless: Trimaran, account: Account, bases: str, trees: dict[str, Tree]
) -> None:
    _compare(case, rootless, bases, trees, account)


def test_every_case_was_recorded() -> None:
    assert CASES
    assert [case.name for case in CASES if not case.golden.exists()] == []


def _compare(
    case: cases.Case, command: Trimaran, registry: str, trees: dict[str, Tree], account: Account | None = None
) -> None:
    if case.base:
        base.push(registry, case.base_name, case.base)
    with open_folder() as folder:
        case.write_context(folder, -1 if account is None else account.uid)
        built = _build(case, command, folder, trees)
    recorded = json.loads(case.golden.read_text())["platforms"]
    allowed = case.allowed if account is None else {**case.allowed, **case.allowed_rootless}
    lines = [
        line for line in golden.differences(built, recorded) if not any(line.startswith(place) for place in allowed)
    ]
    assert not lines, "\n" + "\n".join(lines)


def _build(case: cases.Case, command: Trimaran, context: Path, trees: dict[str, Tree]) -> dict[str, object]:
    output = command.home / "output.tar"
    begun = int(time.time())
    command("build", "--output", f"type=oci,dest={output}", *case.options, ".", cwd=context)
    with archive(output) as (opened, descriptor):
        found = images(opened, descriptor)
    bases_of = {name: {} if case.scratch else trees[name] for name in found}
    return golden.document(found, bases_of, begun, with_layers=case.with_layers)
