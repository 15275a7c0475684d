"""What --check and --call print and end with."""

from __future__ import annotations

import json

import pytest

from trimaran.builders.options import Call
from trimaran.cli.call_result import shown

SOURCE = {"filename": "Dockerfile", "data": "RlJPTSBhCg==", "language": "Dockerfile"}
ONE = {"ruleName": "R", "detail": "d", "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}}


def answer(*warnings: object, error: dict[str, object] | None = None, text: str = "") -> dict[str, bytes]:
    document = {"warnings": list(warnings) or None, "sources": [SOURCE], **({"buildError": error} if error else {})}
    status = b"1" if warnings else b"0"
    return {"result.json": json.dumps(document).encode(), "result.txt": text.encode(), "result.statuscode": status}


@pytest.mark.parametrize(
    ("count", "first", "code"),
    [
        (0, "Check complete, no warnings found.\n", 0),
        (1, "Check complete, 1 warning has been found!\n", 1),
        (2, "Check complete, 2 warnings have been found!\n", 1),
    ],
)
def test_check(count: int, first: str, code: int) -> None:
    assert shown(answer(*[ONE] * count), Call("lint")) == (first, "", code)
    out, _, json_code = shown(answer(*[ONE] * count), Call("lint", "json"))
    assert (len(json.loads(out)["warnings"] or ()), json_code) == (count, code)


def test_status_may_be_ignored_but_not_of_what_cannot_be_built() -> None:
    assert shown(answer(ONE), Call("lint", ignore_status=True))[2] == 0
    error = {"message": "wrong", "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}}
    out, err, code = shown(answer(ONE, error=error, text="\nWARNING: R\n"), Call("lint", ignore_status=True))
    assert code == 1
    assert out == "Check complete, 1 warning has been found!\n\nWARNING: R\n\n"
    assert err.startswith("ERROR: wrong\nDockerfile:1\n-----")
    assert shown(answer(error={"message": "wrong", "location": {}}), Call("lint"))[:2] == ("", "ERROR: wrong\n\n")


def test_other_calls_are_shown_as_they_are() -> None:
    given = {"result.json": b"{}", "result.txt": b"TARGET\n"}
    assert shown(given, Call("targets")) == ("TARGET\n", "", 0)
    assert shown(given, Call("targets", "json")) == ("{}\n", "", 0)
