"""Neighbouring patterns of one sign, matched together."""

from __future__ import annotations

import re

from trimaran.patterns.compiled import Automaton, compile_any, compile_one, regex_of
from trimaran.patterns.tokens import DEEP, REST, STAR, Token, can_be_slash, crosses, is_literal, is_odd, tokenize


class Run:
    """Neighbouring patterns of one sign: does any of them match?"""

    __slots__ = (
        "_by_depth",
        "_by_tail",
        "_deep",
        "_everything",
        "_exact",
        "_folders",
        "_odd",
        "_ready",
        "_suffixes",
        "_texts",
        "excluding",
    )

    def __init__(self, excluding: bool) -> None:
        self.excluding = excluding
        self._texts: list[list[Token]] = []
        self._exact: set[str] = set()
        self._folders: tuple[str, ...] = ()
        self._suffixes: tuple[str, ...] = ()
        self._everything = False
        self._by_depth: dict[int, re.Pattern[str]] = {}
        self._by_tail: dict[int, re.Pattern[str]] = {}
        self._deep: re.Pattern[str] | None = None
        self._odd: list[Automaton] = []
        self._ready = False

    def add(self, text: str) -> None:
        self._texts.append(tokenize(text, doubled=True))

    def matches(self, path: str) -> bool:
        if not self._ready:
            self._compile()
        if self._everything or path in self._exact:
            return True
        if path.endswith(self._suffixes) or path.startswith(self._folders):
            return True
        if self._by_depth:
            regex = self._by_depth.get(path.count("/"))
            if regex is not None and regex.fullmatch(path):
                return True
        for slashes, regex in self._by_tail.items():
            tail = path if path.count("/") == slashes else _tail(path, slashes)
            if tail is not None and regex.fullmatch(tail):
                return True
        if self._deep is not None and self._deep.fullmatch(path):
            return True
        return any(automaton.matches(path) for automaton in self._odd)

    def reaches_into(self, folder: list[str]) -> bool:
        """Whether a pattern could match something below the folder (whose own match is known to the caller)."""
        return any(_reaches_into(tokens, folder) for tokens in self._texts)

    def _compile(self) -> None:
        by_depth: dict[int, list[str]] = {}
        by_tail: dict[int, list[str]] = {}
        deep: list[str] = []
        folders: list[str] = []
        suffixes: list[str] = []
        for tokens in self._texts:
            if all(isinstance(token, str) for token in tokens):
                self._exact.add("".join(map(str, tokens)))
            elif tokens == [REST]:
                self._everything = True
            elif tokens[-1] is REST and is_literal(tokens[:-1]):
                folders.append("".join(map(str, tokens[:-1])))
            elif tokens[0] is REST and is_literal(tokens[1:]):
                suffixes.append("".join(map(str, tokens[1:])))
            elif tokens[0] is DEEP and (suffix := _suffix(tokens)) is not None:
                suffixes += suffix[0]
                self._exact.update(suffix[1])
            elif is_odd(tokens):
                self._odd.append(Automaton(tokens))
            elif tokens[0] is DEEP and not crosses(tokens[1:]):
                by_tail.setdefault(tokens.count("/"), []).append(regex_of(tokens[1:]))
            elif crosses(tokens):
                deep.append(regex_of(tokens))
            else:
                by_depth.setdefault(tokens.count("/"), []).append(regex_of(tokens))
        self._folders, self._suffixes = tuple(folders), tuple(suffixes)
        self._by_depth = {depth: compile_any(regexes) for depth, regexes in by_depth.items()}
        self._by_tail = {depth: compile_any(regexes) for depth, regexes in by_tail.items()}
        self._deep = compile_any(deep) if deep else None
        self._ready = True


def _suffix(tokens: list[Token]) -> tuple[list[str], list[str]] | None:
    """(endings, whole paths) that `**/name` or `**/*.ext` stand for; None when it takes more than that."""
    rest = tokens[1:]
    if is_literal(rest):
        text = "".join(map(str, rest))
        return ["/" + text], [text]
    if rest[0] is STAR and is_literal(rest[1:]) and "/" not in rest:
        return ["".join(map(str, rest[1:]))], []
    return None


def _tail(path: str, slashes: int) -> str | None:
    """The last `slashes` + 1 names; None when there are fewer."""
    position = len(path)
    for _ in range(slashes + 1):
        position = path.rfind("/", 0, position)
        if position < 0:
            return None
    return path[position + 1 :]


def _reaches_into(tokens: list[Token], folder: list[str]) -> bool:
    segments: list[list[Token]] = [[]]
    for item in tokens:
        if item == "/":
            segments.append([])
        else:
            segments[-1].append(item)
    for index, segment in enumerate(segments):
        if any(token in (DEEP, REST) and isinstance(token, int) for token in segment) or any(
            map(can_be_slash, segment)
        ):
            return True
        if index == len(folder):
            return True
        if not compile_one(segment).fullmatch(folder[index]):
            return False
    return False  # the pattern ends at the folder or above it: decided by the folder's own match
