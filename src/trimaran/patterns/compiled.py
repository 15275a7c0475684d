"""Tokens made ready to match: regular expressions that cannot backtrack, and an automaton for what those cannot say."""

from __future__ import annotations

import re

from trimaran.patterns.tokens import DEEP, REST, STAR, Token


def regex_of(tokens: list[Token]) -> str:
    """A regular expression that never tries a second place for anything but the last star of a name.

    Between two stars (or two `**`) the leftmost fitting place is always right, so the groups are atomic.
    """
    parts: list[str] = []
    groups = _split(tokens)
    for index, (glue, group) in enumerate(groups):
        body = "".join(_part(token) for token in group)
        last_of_name = index + 1 == len(groups) or groups[index + 1][0] is not glue or "/" in group
        if glue is None:
            parts.append(body)
        elif glue is STAR:
            parts.append(f"[^/]*{body}" if last_of_name and "/" not in group else f"(?>[^/]*?{body})")
        elif glue is REST:
            parts.append(".*")
        else:
            is_last = not any(later is DEEP for later, _ in groups[index + 1 :])
            simple = index + 1 < len(groups) and groups[index + 1][0] is DEEP
            parts.append(f"(?>(?:[^/]*/)*?{body})" if simple and not is_last else f"(?:[^/]*/)*{body}")
    return "".join(parts)


def _split(tokens: list[Token]) -> list[tuple[Token | None, list[Token]]]:
    groups: list[tuple[Token | None, list[Token]]] = [(None, [])]
    for token in tokens:
        if token in (STAR, DEEP, REST) and isinstance(token, int):
            groups.append((token, []))
        else:
            groups[-1][1].append(token)
    return groups


def _part(token: Token) -> str:
    if isinstance(token, str):
        return re.escape(token)
    if isinstance(token, tuple):
        negated, ranges = token
        inner = "".join(f"{_quoted(low)}-{_quoted(high)}" for low, high in ranges if low <= high)
        if not inner:  # only empty ranges: nothing, or anything
            return r"[\s\S]" if negated else r"[^\s\S]"
        return f"[{'^' if negated else ''}{inner}]"
    return "[^/]"


def _quoted(character: str) -> str:
    return "\\" + character if character in "\\]^-[&~|" else character


def compile_one(tokens: list[Token]) -> re.Pattern[str]:
    return re.compile(regex_of(tokens), re.DOTALL)


def compile_any(regexes: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{regex})" for regex in regexes), re.DOTALL)


class Automaton:
    """All ways through an odd pattern at once, as bits of a number: linear, if slowly."""

    __slots__ = ("_accept", "_literal", "_tokens")

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._accept = 1 << len(tokens)
        count = next((index for index, token in enumerate(tokens) if not isinstance(token, str)), len(tokens))
        self._literal = "".join(map(str, tokens[:count]))

    def matches(self, path: str) -> bool:
        if not path.startswith(self._literal):
            return False
        states = self._closed(1)
        for character in path:
            states = self._closed(self._after(states, character))
            if not states:
                return False
        return bool(states & self._accept)

    def _after(self, states: int, character: str) -> int:
        """Bit i: tokens before i are used up. A number with a marker above the tokens says "inside a `**`"."""
        size = len(self._tokens) + 1
        after = 0
        for index, token in enumerate(self._tokens):
            if states >> index & 1:
                if token is STAR:
                    after |= (character != "/") << index
                elif token is REST:
                    after |= 1 << index
                elif token is DEEP:
                    after |= 1 << (size + index)
                    after |= (character == "/") << (index + 1)
                elif _accepts(token, character):
                    after |= 1 << (index + 1)
            if states >> (size + index) & 1:
                after |= 1 << (size + index)
                after |= (character == "/") << (index + 1)
        return after

    def _closed(self, states: int) -> int:
        """Stars and `**` may match nothing."""
        for index, token in enumerate(self._tokens):
            if states >> index & 1 and token in (STAR, REST, DEEP) and isinstance(token, int):
                states |= 1 << (index + 1)
        return states


def _accepts(token: Token, character: str) -> bool:
    if isinstance(token, str):
        return token == character
    if isinstance(token, tuple):
        negated, ranges = token
        return negated != any(low <= character <= high for low, high in ranges)
    return character != "/"
