"""The page of all that is not as BuildKit has it, from the reasons beside the cases.

`PYTHONPATH=tests:src python -m dockerfile.differences > docs/differences.md` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from goldens.cases import read_all

TESTS = Path(__file__).parents[1]
CORPUS = TESTS / "corpus" / "dockerfile"
LINT = TESTS / "corpus" / "lint"
_HEAD = """# Where Trimaran differs from BuildKit on purpose

Made from the tests: a case whose result differs from what real BuildKit gave must say why, and this page lists it
(`python -m dockerfile.differences` in `tests/`). Nothing else is known to differ.

The other side is the BuildKit of dockerd 28.5.2, whose built-in Dockerfile frontend is asked for the graph and config of
every Dockerfile in `tests/corpus/dockerfile`, for its findings in those of `tests/corpus/lint`, and which has built those
of `tests/goldens/cases`. What newer versions of the language have and that one has not (`COPY --parents`,
`RUN --security`, comments that skip a check for one instruction, a global `ARG SOURCE_DATE_EPOCH`) is held to its
documentation alone: the images of newer frontends and of the labs edition could not be fetched where these tests were
recorded.

"""
_SAME_WORDS = """## Errors

What BuildKit refuses is refused here, with its words where it has some, at the exact place, and before any image is
looked up where the file alone shows the fault. The words differ in these cases.

"""


def page() -> str:
    reasons = dict(_reasons())
    errors = {name: why for name, why in reasons.items() if (CORPUS / name / "error.txt").exists()}
    graphs = {name: why for name, why in reasons.items() if name not in errors}
    alone = dict(_alone())
    images = {f"{case.name}: `{place}`": why for case in read_all() for place, why in case.allowed.items()}
    rootless = {f"{case.name}: `{place}`": why for case in read_all() for place, why in case.allowed_rootless.items()}
    return (
        f"{_HEAD}## Graphs and image configs\n\n{_table(graphs)}\n"
        f"{_SAME_WORDS}{_table(errors)}\n"
        f"## Files of images\n\n{_table(images)}\n{_KEPT_TIME}\nWithout root:\n\n{_table(rootless)}\n"
        f"## Checks\n\n{_table(dict(_checks()))}\n"
        f"## Not asked\n\nCases of our own for which BuildKit could not be asked.\n\n{_table(alone)}"
    )


_KEPT_TIME = """What a step wrote into a file whose size and time it kept, to the nanosecond, is in its layer; BuildKit takes such a
file for unchanged, by its source (`tests/store/test_unchanged.py`, [design](design/0022-what-a-step-left-as-it-was.md)).
"""


def _reasons() -> Iterator[tuple[str, str]]:
    for path in sorted(CORPUS.glob("*/reason")):
        yield path.parent.name, path.read_text().strip()


def _alone() -> Iterator[tuple[str, str]]:
    for path in sorted(CORPUS.glob("*/request.json")):
        request = json.loads(path.read_text())
        if "own" in request:
            yield path.parent.name, request["own"]


def _checks() -> Iterator[tuple[str, str]]:
    for path in sorted(LINT.glob("*/request.json")):
        request = json.loads(path.read_text())
        if "differs" in request:
            yield path.parent.name, request["differs"]


def _table(reasons: dict[str, str]) -> str:
    """A row for each reason with all its cases."""
    cases: dict[str, list[str]] = {}
    for name, why in reasons.items():
        cases.setdefault(why, []).append(name)
    rows = [f"| {why[:1].upper()}{why[1:]} | {', '.join(names)} |\n" for why, names in cases.items()]
    return "| why | cases |\n|---|---|\n" + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")
