"""Texts as Go writes and reads them, where an image's history or a flag has that form: `%q`, `%v`, durations."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
MAX_DURATION = (1 << 63) - 1


def quote(text: str) -> str:
    """strconv.Quote: what prints stays, the rest is escaped."""
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    known = _ESCAPES.get(character)
    if known:
        return known
    if character == " " or (character.isprintable() and not "\ud800" <= character <= "\udfff"):
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote_rune(code: int) -> str:
    """`%q` of an integer: a character in single quotes."""
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return "'\ufffd'"
    character = chr(code)
    return "'" + ("\\'" if character == "'" else character if character == '"' else _escape(character)) + "'"


def quoted_list(items: Iterable[str]) -> str:
    """`%q` of a list of strings."""
    return "[" + " ".join(quote(item) for item in items) + "]"


def plain_list(items: Iterable[str]) -> str:
    """`%v` of a list of strings."""
    return "[" + " ".join(items) + "]"


def parse_duration(text: str) -> int:
    """Nanoseconds of `1h2m3.5s`; ValueError, in Go's words, otherwise."""
    invalid = ValueError(f"time: invalid duration {quote(text)}")
    rest = text.lstrip("+-")[: len(text)]
    negative = text.startswith("-")
    if len(text) - len(rest) > 1 or not rest:
        raise invalid
    if rest == "0":
        return 0
    total = 0
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = re.split(r"[0-9.]", rest, maxsplit=1)[0]
        rest = rest[len(unit) :]
        whole, _, fraction = number.partition(".")
        if not number.strip(".") or "." in fraction or len(number) > 40:
            raise invalid
        if not unit:
            raise ValueError(f"time: missing unit in duration {quote(text)}")
        if unit not in NANOSECONDS:
            raise ValueError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        scale = NANOSECONDS[unit]
        total += int(whole or "0") * scale + int(fraction or "0") * scale // 10 ** len(fraction)
    if total > MAX_DURATION:
        raise invalid
    return -total if negative else total


def duration(nanoseconds: int) -> str:
    """time.Duration's String: `1m30s`, `1.5s`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    if abs(nanoseconds) < 10**9:
        for unit, scale in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if abs(nanoseconds) >= scale:
                return _decimal(nanoseconds, scale) + unit
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    hours, rest = divmod(rest, 3600 * 10**9)
    minutes, rest = divmod(rest, 60 * 10**9)
    text = sign + (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "")
    return text + _decimal(rest, 10**9) + "s"


def _decimal(value: int, scale: int) -> str:
    sign, value = ("-", -value) if value < 0 else ("", value)
    whole, fraction = divmod(value, scale)
    digits = f"{fraction:0{len(str(scale)) - 1}d}".rstrip("0") if fraction else ""
    return f"{sign}{whole}" + (f".{digits}" if digits else "")
