"""Which colours rows get: $BUILDKIT_COLORS (`run=green:cancel=255,165,0`) and $NO_COLOR (reference §1.10). Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_CODES = {name: f"\x1b[{30 + n}m" for n, name in enumerate(_NAMES)} | {
    f"light-{name}": f"\x1b[{90 + n}m" for n, name in enumerate(_NAMES)
}
_CODES["default"] = "\x1b[39m"
RESET = "\x1b[0m"
FAINT = "\x1b[2m"


class Colours(msgspec.Struct, frozen=True):
    """Escape sequences for finished rows; "" for none."""

    run: str = _CODES["blue"]
    cancel: str = _CODES["yellow"]
    warning: str = _CODES["yellow"]
    error: str = _CODES["red"]
    faint: str = FAINT

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Colours:
        """What cannot be read is left as it was, as in BuildKit."""
        if environment.get("NO_COLOR"):
            return cls("", "", "", "", FAINT)
        chosen: dict[str, str] = {}
        for field in environment.get("BUILDKIT_COLORS", "").split(":"):
            name, _, value = field.strip().partition("=")
            code = _code(value.strip())
            if name in {"run", "cancel", "warning", "error"} and code:
                chosen[name] = code
        return cls(**chosen)


def _code(value: str) -> str:
    if value.lower() in _CODES:
        return _CODES[value.lower()]
    parts = value.split(",")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts):
        return f"\x1b[38;2;{';'.join(str(int(part)) for part in parts)}m"
    return ""
