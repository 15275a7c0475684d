"""`WWW-Authenticate` as RFC 9110 §11.6.1 has it, read from servers that are not trusted (pure)."""

from __future__ import annotations

import msgspec

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LIMIT = 8192
_COUNT = 32


class Challenge(msgspec.Struct, frozen=True):
    """One scheme (lower case) with its parameters (names in lower case, the first of equal ones counts)."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        return next((value for key, value in self.parameters if key == name), "")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self, characters: str) -> None:
        while self.at < len(self.text) and self.text[self.at] in characters:
            self.at += 1

    def token(self) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in _TOKEN:
            self.at += 1
        return self.text[start : self.at]

    def value(self) -> str | None:
        """A token or quoted string; None when the quotes do not close."""
        if self.text[self.at : self.at + 1] != '"':
            return self.token()
        self.at += 1
        parts: list[str] = []
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character == '"':
                return "".join(parts)
            if character == "\\":
                character = self.text[self.at : self.at + 1]
                self.at += 1
            parts.append(character)
        return None


def parse(header: str) -> tuple[Challenge, ...]:
    """The challenges that can be read; a header too long, or with control characters, holds none."""
    if len(header) > _LIMIT or not header.isascii() or not header.replace("\t", " ").isprintable():
        return ()
    scanner = _Scanner(header)
    found: list[tuple[str, list[tuple[str, str]]]] = []
    while len(found) < _COUNT:
        scanner.skip(" \t,")
        name = scanner.token()
        if not name:
            break
        scanner.skip(" \t")
        if found and scanner.text[scanner.at : scanner.at + 1] == "=":
            scanner.at += 1
            scanner.skip(" \t")
            value = scanner.value()
            if value is None:
                break
            if len(found[-1][1]) < _COUNT:
                found[-1][1].append((name.lower(), value))
        else:
            found.append((name.lower(), []))
    return tuple(Challenge(scheme, tuple(parameters)) for scheme, parameters in found)
