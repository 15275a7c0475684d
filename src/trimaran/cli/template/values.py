"""What templates work on: plain JSON values, and records whose fields carry the names Go programs know them by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | Record | None"


class Record:
    """A Go struct: named fields in order, and the JSON it is written as."""

    __slots__ = ("fields", "json", "kind", "text")

    def __init__(self, kind: str, fields: Mapping[str, Value], json: Value, *, text: str = "") -> None:
        """`text` is what printing the record itself gives ("" for Go's `{field field}`)."""
        self.kind = kind
        self.fields = dict(fields)
        self.json = json
        self.text = text


def plain(value: Value) -> Value:
    """The value with records replaced by the JSON they stand for."""
    if isinstance(value, Record):
        return plain(value.json)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def truth(value: Value) -> bool:
    """Go's: false, 0, nil and what is empty are not true; a struct always is."""
    return True if isinstance(value, Record) else bool(value)


def show(value: Value, *, top: bool = True) -> str:
    """As Go's fmt prints with %v."""
    if value is None:
        return "<no value>" if top else "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, Record):
        return value.text or "{" + " ".join(show(item, top=False) for item in value.fields.values()) + "}"
    if isinstance(value, list):
        return "[" + " ".join(show(item, top=False) for item in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(value[key], top=False)}" for key in sorted(value)) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
