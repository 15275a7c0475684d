"""What `--check` and `--call` print, and the exit code they end with (reference §1.3, §3.9). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trimaran.builders.options import Call
from trimaran.errors import Location, Position, Range
from trimaran.snippet import snippet


def shown(answer: Mapping[str, bytes], call: Call) -> tuple[str, str, int]:
    """Standard output, standard error, exit code."""
    document = answer.get("result.json", b"").decode()
    text = answer.get("result.txt", b"").decode()
    error = ""
    if call.name == "lint":
        results = msgspec.json.decode(document)
        text, error = _check(results, text, json=call.format == "json")
    code = int(answer.get("result.statuscode", b"0"))
    if error:
        code = 1
    elif call.ignore_status:
        code = 0
    if call.name == "graph" and call.format in {"dot", "json"}:
        return answer[f"result.{call.format}"].decode(), error, code
    return (document + "\n" if call.format == "json" else text), error, code


def _check(results: dict[str, Any], text: str, *, json: bool) -> tuple[str, str]:
    """Text with its first or only line, and what follows when the file cannot be built."""
    count = len(results["warnings"] or ())
    problem = results.get("buildError")
    if count:
        found = "1 warning has been found!" if count == 1 else f"{count} warnings have been found!"
        text = f"Check complete, {found}\n{text}"
    elif problem is None:
        return "Check complete, no warnings found.\n", ""
    if problem is None:
        return text, ""
    where = place(problem["location"], results["sources"][0])
    error = f"ERROR: {problem['message']}\n{snippet(where) if where else ''}\n"
    return (text + "\n" if count and not json else text), error


def place(location: dict[str, Any], source: dict[str, Any]) -> Location | None:
    """Where a finding of the JSON answer is."""
    import base64

    ranges = tuple(
        Range(Position(one["start"].get("line", 0)), Position(one["end"].get("line", 0)))
        for one in location.get("ranges", ())
    )
    data = base64.b64decode(source["data"])
    return Location(source["filename"], data, ranges, source["language"]) if ranges else None
