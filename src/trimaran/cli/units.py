"""Values as Go's and Docker's flag types read and write them: booleans, sizes, durations, csv.

Pure; ValueError when the text is wrong.
"""

from __future__ import annotations

from trimaran.sizes import DECIMAL_UNITS

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_BINARY = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATIONS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def parse_bool(text: str) -> bool:
    """Go's strconv.ParseBool."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def parse_integer(text: str) -> int:
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def parse_bytes(text: str) -> int:
    """docker/go-units RAMInBytes: `64m`, `1.5GiB`, `512`; units are powers of 1024."""
    number = text.rstrip("bBiIkKmMgGtTpP ")
    unit = text[len(number) :].strip().lower()
    stem = unit.removesuffix("b").removesuffix("i")
    fits = unit in {stem, stem + "b", stem + "ib"} and not (unit.endswith("ib") and not stem)
    plain = number.replace(".", "", 1)
    if stem not in _BINARY or not fits or not (plain.isascii() and plain.isdigit()) or number[:1] == ".":
        raise ValueError(f"invalid size: '{text}'")
    size = int(float(number) * 1024 ** _BINARY[stem]) if "." in number else int(number) * 1024 ** _BINARY[stem]
    if size >= 2**63:
        raise ValueError(f"invalid size: '{text}': value out of range")
    return size


def parse_duration(text: str) -> int:
    """Go's time.ParseDuration (`1h30m`, `250ms`, `1.5s`), in nanoseconds."""
    rest = text[1:] if text[:1] in {"+", "-"} else text
    sign = -1 if text[:1] == "-" else 1
    if rest == "0":
        return 0
    total = 0.0
    seen = False
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµμmsh"))]
        unit = unit if unit in _DURATIONS else unit[:1]
        if not number.replace(".", "", 1).isdigit() or unit not in _DURATIONS:
            break
        total += float(number) * _DURATIONS[unit]
        rest = rest[len(unit) :]
        seen = True
    if rest or not seen:
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * int(total)


def split_csv(text: str) -> list[str]:
    """One record of Go's encoding/csv: fields may be quoted, quotes inside double; no line breaks outside quotes."""
    fields: list[str] = []
    position = 0
    while True:
        if text[position : position + 1] == '"':
            field, position = _quoted(text, position + 1)
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            field, position = text[position:end], end
            if '"' in field:
                raise ValueError(f'parse csv {text!r}: bare " in non-quoted field')
        fields.append(field)
        if position >= len(text):
            return fields
        position += 1


def _quoted(text: str, position: int) -> tuple[str, int]:
    """The field whose opening quote ended before `position`, and where its comma (or the end) is."""
    parts: list[str] = []
    while True:
        end = text.find('"', position)
        if end < 0:
            raise ValueError(f'parse csv {text!r}: extraneous or missing " in quoted field')
        parts.append(text[position:end])
        if text[end + 1 : end + 2] == '"':
            parts.append('"')
            position = end + 2
            continue
        if text[end + 1 : end + 2] not in {"", ","}:
            raise ValueError(f'parse csv {text!r}: extraneous or missing " in quoted field')
        return "".join(parts), end + 1


def progress_size(count: int) -> str:
    """How progress shows bytes: two digits after the point above 1000 (`1.08MB`), none below (`162B`)."""
    if count < 1000:
        return f"{count}B"
    size, unit = float(count), 0
    while size >= 1000 and unit < len(DECIMAL_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.2f}{DECIMAL_UNITS[unit]}"


_AGES = ((7 * 86400 * 2, 86400, "days"), (86400 * 60, 7 * 86400, "weeks"), (86400 * 730, 30 * 86400, "months"))


def human_duration(seconds: float) -> str:
    """docker/go-units HumanDuration: `25 minutes`, `About an hour`, `3 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, unit, name in _AGES:
        if whole < limit:
            return f"{whole // unit} {name}"
    return f"{whole // (365 * 86400)} years"
