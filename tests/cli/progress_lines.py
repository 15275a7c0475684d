"""Reads the lines that buildx writes with `--progress rawjson`, as events: goldens are what a real one wrote."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Location, Position, Range
from trimaran.events import Event, LogEvent, ProgressGroup, StatusEvent, VertexEvent, WarningEvent

_SECOND = 10**9


def parse_time(text: str | None) -> int:
    if not text:
        return 0
    import calendar
    import time

    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * _SECOND + int((fraction + "0" * 9)[:9])


def read_line(line: bytes) -> list[Event]:
    """The events of one line, vertices first."""
    status: dict[str, list[dict[str, Any]]] = msgspec.json.decode(line)
    events: list[Event] = [_read_vertex(fields) for fields in status.get("vertexes", ())]
    events.extend(_read_status(fields) for fields in status.get("statuses", ()))
    events.extend(_read_warning(fields) for fields in status.get("warnings", ()))
    events.extend(_read_log(fields) for fields in status.get("logs", ()))
    return events


def _read_vertex(fields: dict[str, Any]) -> VertexEvent:
    group = fields.get("progressGroup")
    return VertexEvent(
        digest=Digest(fields["digest"]),
        name=fields.get("name", ""),
        inputs=tuple(Digest(text) for text in fields.get("inputs") or ()),
        started=parse_time(fields.get("started")),
        completed=parse_time(fields.get("completed")),
        cached=fields.get("cached", False),
        error=fields.get("error", ""),
        progress_group=ProgressGroup(group["id"], group.get("name", ""), group.get("weak", False)) if group else None,
        execution=fields.get("execution", ""),
        emulated=fields.get("emulated", 0),
    )


def _read_status(fields: dict[str, Any]) -> StatusEvent:
    return StatusEvent(
        id=fields["id"],
        vertex=Digest(fields["vertex"]),
        name=fields.get("name", ""),
        current=fields.get("current", 0),
        total=fields.get("total", 0),
        timestamp=parse_time(fields.get("timestamp")),
        started=parse_time(fields.get("started")),
        completed=parse_time(fields.get("completed")),
    )


def _read_log(fields: dict[str, Any]) -> LogEvent:
    data = base64.b64decode(fields.get("data", ""))
    return LogEvent(
        vertex=Digest(fields["vertex"]),
        stream=fields.get("stream", 0),
        data=data,
        timestamp=parse_time(fields.get("timestamp")),
    )


def _read_warning(fields: dict[str, Any]) -> WarningEvent:
    source, places = fields.get("sourceInfo"), fields.get("range")
    where = None
    if source and places:
        ranges = tuple(Range(_read_position(place["start"]), _read_position(place["end"])) for place in places)
        text = base64.b64decode(source.get("data", ""))
        where = Location(source.get("filename", ""), text, ranges, source.get("language", ""))
    return WarningEvent(
        vertex=Digest(fields["vertex"]),
        level=fields.get("level", 1),
        short=base64.b64decode(fields.get("short", "")),
        detail=tuple(base64.b64decode(line) for line in fields.get("detail") or ()),
        url=fields.get("url", ""),
        where=where,
    )


def _read_position(fields: dict[str, int]) -> Position:
    return Position(fields.get("line", 0), fields.get("character", 0))
