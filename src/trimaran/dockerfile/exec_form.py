"""The JSON form of instructions: `["program", "argument"]`, read as Go reads JSON. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.dockerfile.lines import SPACE


def parse_json(text: str) -> list[Any] | None:
    """The items of a JSON array; None when the text is none (it is a shell line then)."""
    if not text.lstrip(SPACE).startswith("["):
        return None
    try:
        items = msgspec.json.decode(text.encode("utf-8", "surrogateescape"))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return _with_half_characters(text) if "\\ud" in text.lower() else None
    return items if isinstance(items, list) else None


def _with_half_characters(text: str) -> list[Any] | None:
    """As Go reads JSON whose escapes name halves of UTF-16 pairs: each becomes the replacement character."""
    import json

    try:
        items = json.loads(text.encode("utf-8", "surrogateescape").decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list):
        return None
    return [_whole(item) if isinstance(item, str) else item for item in items]


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _no_constant(name: str) -> None:
    raise ValueError(name)
