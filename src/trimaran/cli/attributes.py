"""`key=value,…` of `--output`, `--attest` and the like: parsed once, each key asked for by name, the rest refused."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.builders.checks import check_level
from trimaran.cli.units import parse_bool, split_csv
from trimaran.errors import UsageError
from trimaran.spelling import unknown


class Attributes:
    """The pairs of one flag's value. `finish` refuses what nobody asked for, naming what is known."""

    __slots__ = ("_asked", "_flag", "_pairs")

    def __init__(self, flag: str, pairs: dict[str, str]) -> None:
        self._flag = flag
        self._pairs = pairs
        self._asked: list[str] = []

    @classmethod
    def parse(cls, flag: str, text: str) -> Attributes:
        """Keys are lower-cased, as buildx does; a field without `=` is an error."""
        pairs: dict[str, str] = {}
        try:
            fields = split_csv(text)
        except ValueError as error:
            raise UsageError(f"read --{flag} {text!r}: {error}") from None
        for field in fields:
            key, equals, value = field.partition("=")
            if not equals:
                raise UsageError(f"read --{flag} {text!r}: invalid value {field}", hint="write key=value,key=value")
            pairs[key.strip().lower()] = value
        return cls(flag, pairs)

    def text(self, key: str, default: str = "") -> str:
        self._asked.append(key)
        return self._pairs.pop(key, default)

    def boolean(self, key: str, default: bool = False) -> bool:
        """A key with an empty value is true, as in buildx."""
        found = self.maybe(key)
        return default if found is None else found

    def maybe(self, key: str) -> bool | None:
        self._asked.append(key)
        if key not in self._pairs:
            return None
        value = self._pairs.pop(key)
        try:
            return parse_bool(value) if value else True
        except ValueError:
            raise UsageError(f'read --{self._flag} {key}="{value}": neither true nor false') from None

    def integer(self, key: str) -> int | None:
        self._asked.append(key)
        if key not in self._pairs:
            return None
        value = self._pairs.pop(key)
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise UsageError(f'read --{self._flag} {key}="{value}": not a whole number')
        return int(value)

    def level(self, kind: str) -> int | None:
        """`compression-level` of `kind`."""
        level = self.integer("compression-level")
        try:
            return check_level(kind, level)
        except UsageError as error:
            raise UsageError(f"read --{self._flag} {error.message}") from None

    def choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        value = self.text(key, default)
        if value not in allowed:
            message, hint = unknown(f"{key} of --{self._flag}", value, allowed)
            raise UsageError(message, hint=hint)
        return value

    def matching(self, prefix: str) -> list[tuple[str, str]]:
        """Take all keys that begin with `prefix`, in order."""
        self._asked.append(prefix + "KEY")
        found = [(key, value) for key, value in self._pairs.items() if key.startswith(prefix)]
        for key, _ in found:
            del self._pairs[key]
        return found

    def refuse(self, key: str, hint: str, *, unless: str = "") -> None:
        """A key buildx knows and we don't: an error with the way out, but for the value that changes nothing."""
        value = self._pairs.pop(key, None)
        if value is not None and value.lower() != unless:
            raise UsageError(f"read --{self._flag} {key}={value}: not done by the embedded builder", hint=hint)

    def finish(self, what: str) -> None:
        for key in self._pairs:
            message, hint = unknown(f"key of {what}", key, sorted(self._asked))
            raise UsageError(f"read --{self._flag}: {message}", hint=hint)
