"""`--progress rawjson`: one JSON object a line with BuildKit's SolveStatus fields (reference §1.10)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from trimaran.errors import Position
from trimaran.events import (
    AdoptionEvent,
    Event,
    LogEvent,
    MissEvent,
    StatusEvent,
    VertexEvent,
    WarningEvent,
)

_SECOND = 1_000_000_000
_LISTS = {
    VertexEvent: "vertexes",
    StatusEvent: "statuses",
    LogEvent: "logs",
    WarningEvent: "warnings",
    MissEvent: "misses",
    AdoptionEvent: "adoptions",
}
"""The last two are Trimaran's own; what they say is a status too, for readers that know buildx's alone."""


class RawJson:
    """The rawjson display of one build: says everything, keeps nothing."""

    __slots__ = ()

    def update(self, events: Iterable[Event], now: int) -> str:
        del now
        lists: dict[str, list[dict[str, Any]]] = {}
        for event in events:
            if isinstance(event, (MissEvent, AdoptionEvent)):
                from trimaran.cli.display.misses import status

                lists.setdefault("statuses", []).append(_fields(status(event)))
            lists.setdefault(_LISTS[type(event)], []).append(_fields(event))
        ordered = {name: lists[name] for name in _LISTS.values() if name in lists}
        return _as_go_writes(msgspec.json.encode(ordered, enc_hook=str)) + "\n" if ordered else ""

    def finish(self, now: int) -> str:
        return self.update((), now)


def _as_go_writes(encoded: bytes) -> str:
    """Go's encoder escapes what HTML would read as markup; we also what GitHub's runner would read as a command."""
    text = encoded.decode().replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return text.replace("##[", "#\\u0023[")


def _fields(event: Event) -> dict[str, Any]:
    match event:
        case VertexEvent():
            return _vertex(event)
        case StatusEvent():
            return _present(
                {"id": event.id, "vertex": event.vertex, "name": event.name or None, "total": event.total or None}
                | {"current": event.current, "timestamp": format_time(event.timestamp)}
                | {"started": format_time(event.started), "completed": format_time(event.completed)}
            )
        case LogEvent():
            return _present(
                {"vertex": event.vertex, "stream": event.stream, "data": _base64(event.data)}
                | {"timestamp": format_time(event.timestamp)}
            )
        case WarningEvent():
            return _warning(event)
        case MissEvent() | AdoptionEvent():
            fields: dict[str, Any] = msgspec.to_builtins(event, builtin_types=(), enc_hook=str)
            return {**fields, "timestamp": format_time(event.timestamp)}


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _vertex(event: VertexEvent) -> dict[str, Any]:
    group = event.progress_group
    fields: dict[str, Any] = {
        "digest": event.digest,
        "inputs": list(event.inputs) or None,
        "name": event.name,
        "started": format_time(event.started),
        "completed": format_time(event.completed),
        "cached": event.cached or None,
        "error": event.error or None,
    }
    if group is not None:
        fields["progressGroup"] = _present({"id": group.id, "name": group.name, "weak": group.weak or None})
    fields["execution"] = event.execution or None
    fields["emulated"] = event.emulated or None
    return _present(fields)


def _warning(event: WarningEvent) -> dict[str, Any]:
    where = event.where
    fields: dict[str, Any] = {
        "vertex": event.vertex,
        "level": event.level,
        "short": _base64(event.short),
        "detail": [_base64(line) for line in event.detail] or None,
        "url": event.url or None,
    }
    if where is not None:
        fields["sourceInfo"] = {
            "filename": where.filename,
            "data": _base64(where.source),
            "language": where.language,
        }
        fields["range"] = [{"start": _position(place.start), "end": _position(place.end)} for place in where.ranges]
    return _present(fields)


def _position(place: Position) -> dict[str, int]:
    return _present({"line": place.line or None, "character": place.character or None})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def format_time(nanoseconds: int) -> str | None:
    """RFC 3339 in UTC with as many digits as needed; None for 0."""
    if not nanoseconds:
        return None
    import time

    seconds, rest = divmod(nanoseconds, _SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
