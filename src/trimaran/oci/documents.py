"""JSON documents of images: read with suspicion, written byte for byte as Go's encoding/json does.

Reading refuses what two readers could read differently (T55b: duplicate keys, a key that differs from a known one in
case only: Go would take it) and what is meant to hurt (depth, size). Writing follows BuildKit: manifests and indexes
indented by two spaces, configs compact, `< > &` and U+2028/9 escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from trimaran.errors import Corrupt

T = TypeVar("T")

DEPTH_LIMIT = 64
#: Values in one document: each takes us ten times its two bytes (T37). Long texts are no matter.
VALUES_LIMIT = 250_000
#: Manifests and indexes: the 4 MiB a registry must take at least (distribution-spec, "Pushing Manifests").
MANIFEST_LIMIT = 4 << 20
CONFIG_LIMIT = 16 << 20


def check(raw: bytes, what: str, *, limit: int = MANIFEST_LIMIT) -> dict[str, Any]:
    """The object `raw` holds, if it can be read in one way only; Corrupt otherwise. `what` names it in errors."""
    if len(raw) > limit:
        raise Corrupt(f"parse {what}: {len(raw)} bytes is more than the {limit} allowed for it")
    structure = _outside_strings(raw)
    if structure.count(b",") + structure.count(b"[") + structure.count(b"{") > VALUES_LIMIT:
        raise Corrupt(f"parse {what}: it has more than {VALUES_LIMIT} values")
    _check_depth(structure, what)
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Corrupt(f"parse {what}: {error}") from None
    if not isinstance(value, dict):
        raise Corrupt(f"parse {what}: not a JSON object")
    if structure.count(b":") != _count_keys(value):
        raise Corrupt(f"parse {what}: a key appears twice in one object")
    return value


def convert(value: object, kind: type[T], what: str) -> T:
    """`value` (decoded JSON) as `kind`; Corrupt with the JSON path when it does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Corrupt(f"parse {what}: {error}") from None


def refuse_lookalikes(value: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Corrupt when a key is a known one but for its case: Go's decoder would take it for that one, ours would not."""
    exact = set(known)
    folded = {key.lower(): key for key in exact}
    for key in value:
        meant = folded.get(key.lower())
        if meant is not None and key not in exact:
            raise Corrupt(f"parse {what}: key {key!r} looks like {meant!r}")


def _outside_strings(raw: bytes) -> bytes:
    """What stands outside of string literals: brackets, colons, commas, numbers, literals."""
    return b"".join(raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _check_depth(structure: bytes, what: str) -> None:
    brackets = structure.translate(None, bytes(set(range(256)) - set(b"[]{}")))
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_LIMIT:
            raise Corrupt(f"parse {what}: nested more than {DEPTH_LIMIT} deep")


def _count_keys(value: dict[str, Any]) -> int:
    count = 0
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            count += len(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return count


def encode(value: object) -> bytes:
    """Compact JSON as Go's json.Marshal writes it; keys in the order given (Go sorts maps: pass those sorted)."""
    return _escape(msgspec.json.encode(value))


def encode_indented(value: object) -> bytes:
    """As Go's json.MarshalIndent(value, "", "  "): no newline at the end."""
    return _escape(msgspec.json.format(msgspec.json.encode(value), indent=2))


def _escape(raw: bytes) -> bytes:
    # These bytes can only stand inside strings, so that replacing them in the text is exact.
    raw = raw.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
    return raw.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")


def sorted_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A string map in Go's order (sorted by bytes, which is by code point)."""
    return {str(key): str(value) for key, value in sorted(pairs)}


def go_time(nanoseconds: int) -> str:
    """RFC 3339 in UTC with as many fraction digits as are needed, as Go marshals times."""
    import time

    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else text + "Z"
