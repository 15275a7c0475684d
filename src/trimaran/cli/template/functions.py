"""The functions templates may call: Go's built-in ones and those Docker's CLI adds. Misuse says what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from trimaran.cli.template.values import Record, Value, plain, show, truth

Function = Callable[..., Value]


class Misuse(Exception):
    """A function was given what it cannot work on."""


def compact_json(value: Value) -> str:
    """On one line, as docker's own `json` writes."""
    return msgspec.json.encode(plain(value), enc_hook=str).decode()


def indented_json(value: Value) -> str:
    """Two blanks a level, as `imagetools inspect` writes."""
    return msgspec.json.format(msgspec.json.encode(plain(value), enc_hook=str), indent=2).decode()


def table(json: Callable[[Value], str]) -> dict[str, Function]:
    return {
        "and": _and,
        "or": _or,
        "not": lambda value: not truth(value),
        "eq": _equal,
        "ne": lambda left, right: not _equal(left, right),
        "lt": lambda left, right: _order(left, right) < 0,
        "le": lambda left, right: _order(left, right) <= 0,
        "gt": lambda left, right: _order(left, right) > 0,
        "ge": lambda left, right: _order(left, right) >= 0,
        "len": _length,
        "index": _index,
        "slice": _slice,
        "print": lambda *values: _print(values),
        "println": lambda *values: " ".join(show(value, top=False) for value in values) + "\n",
        "printf": _printf,
        "json": json,
        "join": lambda values, separator: _text(separator).join(show(item, top=False) for item in _list(values)),
        "split": lambda text, separator: list(_text(text).split(_text(separator))),
        "title": lambda text: _title(_text(text)),
        "lower": lambda text: _text(text).lower(),
        "upper": lambda text: _text(text).upper(),
        "pad": lambda text, before, after: " " * before + text + " " * after if text else "",
        "truncate": lambda text, length: _text(text)[:length],
    }


def _and(*values: Value) -> Value:
    return next((value for value in values if not truth(value)), values[-1])


def _or(*values: Value) -> Value:
    return next((value for value in values if truth(value)), values[-1])


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise Misuse(f"wrong type: want a string, not {kind(value)}")
    return value


def _list(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise Misuse(f"wrong type: want a list, not {kind(value)}")
    return value


def kind(value: Value) -> str:
    if isinstance(value, Record):
        return value.kind
    names = {str: "string", bool: "bool", int: "int", float: "float", list: "list", dict: "map", type(None): "nil"}
    return names[type(value)]


def _title(text: str) -> str:
    """Each word with a capital (Go's strings.Title)."""
    starts = (not (index and (text[index - 1].isalnum() or text[index - 1] in "_'")) for index in range(len(text)))
    return "".join(char.upper() if first else char for char, first in zip(text, starts, strict=True))


def _equal(left: Value, *rights: Value) -> bool:
    if not rights:
        raise Misuse("missing argument for comparison")
    for right in rights:
        if left is None or right is None:
            if left is right:
                return True
            continue
        if _comparable(left) != _comparable(right):
            raise Misuse("incompatible types for comparison")
        if left == right:
            return True
    return False


def _comparable(value: Value) -> str:
    if isinstance(value, list | dict | Record):
        raise Misuse(f"{kind(value)} cannot be compared")
    return "number" if kind(value) in {"int", "float"} else kind(value)


def _order(left: Value, right: Value) -> int:
    kinds = {_comparable(left), _comparable(right)}
    if len(kinds) > 1 or kinds & {"bool", "nil"}:
        raise Misuse("incompatible types for comparison")
    return (left > right) - (left < right)  # type: ignore[operator]  # both strings or both numbers, checked above


def _length(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list | dict):
        return len(value)
    raise Misuse(f"len of type {kind(value)}")


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(_text(key))
        elif isinstance(value, list):
            if not isinstance(key, int) or isinstance(key, bool):
                raise Misuse(f"cannot index a list with type {kind(key)}")
            if not 0 <= key < len(value):
                raise Misuse(f"index out of range: {key}")
            value = value[key]
        else:
            raise Misuse(f"cannot index item of type {kind(value)}")
    return value


def _slice(value: Value, *bounds: Value) -> Value:
    if not isinstance(value, str | list) or len(bounds) > 2:
        raise Misuse(f"cannot slice item of type {kind(value)}")
    numbers = [bound for bound in bounds if isinstance(bound, int)]
    first, last = [*numbers, *(0, len(value))[len(numbers) :]]
    if len(numbers) != len(bounds) or not 0 <= first <= last <= len(value):
        raise Misuse("slice index out of range")
    return value[first:last]


def _print(values: tuple[Value, ...]) -> str:
    """Go's fmt.Sprint: a blank between operands when neither is a string."""
    out = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            out += " "
        out += show(value, top=False)
    return out


def _printf(form: Value, *values: Value) -> str:
    text = _text(form)
    out: list[str] = []
    rest = list(values)
    position = 0
    while True:
        percent = text.find("%", position)
        if percent < 0:
            out.append(text[position:])
            break
        out.append(text[position:percent])
        end = percent + 1
        while end < len(text) and text[end] in "0123456789.+-# ":
            end += 1
        flags, verb = text[percent + 1 : end], text[end : end + 1]
        position = end + 1
        if verb == "%":
            out.append("%")
            continue
        if not rest:
            raise Misuse(f"printf: %{flags}{verb} has no argument")
        out.append(_verb(flags, verb, rest.pop(0)))
    if rest:
        raise Misuse(f"printf: {len(rest)} arguments too many")
    return "".join(out)


_WIDEST = 10_000


def _verb(flags: str, verb: str, value: Value) -> str:
    if any(int(number) > _WIDEST for number in flags.lstrip("+-# 0").split(".") if number.isdigit()):
        raise Misuse(f"printf: %{flags}{verb} is too wide")
    try:
        match verb:
            case "s" | "v":
                return f"%{flags}s" % show(value, top=False)
            case "q":
                return f"%{flags}s" % compact_json(_text(value))
            case "d" | "x" | "X" | "o" | "c" | "f" | "e" | "g" if isinstance(value, int | float):
                return f"%{flags}{verb}" % value
            case "t" if isinstance(value, bool):
                return f"%{flags}s" % show(value)
            case "x" if isinstance(value, str):
                return value.encode().hex()
    except (TypeError, ValueError) as error:
        raise Misuse(f"printf: %{flags}{verb}: {error}") from None
    raise Misuse(f"printf: %{flags}{verb} does not print type {kind(value)}")
