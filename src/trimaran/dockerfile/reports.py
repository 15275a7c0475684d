"""Answers to subrequests as BuildKit writes them: JSON as Go marshals it, tables as its tabwriter aligns them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from trimaran.dockerfile.lint.rule import Finding
from trimaran.errors import Location
from trimaran.snippet import snippet


def json_text(value: Any) -> bytes:
    """Indented by two; `<`, `>` and `&` escaped, as Go does."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    for character in (b"&", b"<", b">"):
        text = text.replace(character, b"\\u%04x" % character[0])
    return text


def table(rows: Sequence[Sequence[str]], padding: int) -> str:
    """Columns as wide as their widest cell and `padding`; the last is not filled up."""
    widths = [max(len(row[column]) for row in rows) + padding for column in range(len(rows[0]) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] + "\n" for row in rows
    )


def location_document(where: Location | None) -> dict[str, Any]:
    """pb.Location: one range for each line, the lines whole."""
    lines: list[int] = []
    for place in where.ranges if where is not None else ():
        lines += range(place.start.line, max(place.end.line, place.start.line) + 1)
    ranges = [{"start": {"line": line}, "end": {"line": line}} for line in dict.fromkeys(lines)]
    return {"ranges": ranges} if ranges else {}


def source_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def lint_document(
    findings: Sequence[Finding], filename: str, data: bytes, error: tuple[str, Location | None] | None
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "warnings": [_warning(finding) for finding in findings] or None,
        "sources": [{"filename": filename, "data": source_text(data), "language": "Dockerfile"}],
    }
    if error is not None:
        document["buildError"] = {"message": error[0], "location": location_document(error[1])}
    return document


def _warning(finding: Finding) -> dict[str, Any]:
    rule = finding.rule
    fields: dict[str, Any] = {"ruleName": rule.name, "description": rule.description}
    if rule.url:
        fields["url"] = rule.url
    return {**fields, "detail": finding.message, "location": location_document(finding.where)}


def lint_text(findings: Iterable[Finding]) -> str:
    """By line; each with the lines it is about."""
    out: list[str] = []
    for finding in sorted(findings, key=lambda finding: finding.line):
        url = f" - {finding.rule.url}" if finding.rule.url else ""
        out.append(f"\nWARNING: {finding.rule.name}{url}\n{finding.message}\n{snippet(finding.where)}")
    return "".join(out)
