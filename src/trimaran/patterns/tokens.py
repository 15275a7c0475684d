"""A pattern as tokens: characters, `?`, brackets, stars."""

from __future__ import annotations

from trimaran.errors import UsageError

# Tokens: a character to match literally, or one of these.
STAR, ANY, DEEP, REST = 1, 2, 3, 4
Class = tuple[bool, tuple[tuple[str, str], ...]]
Token = str | int | Class


class GlobError(UsageError):
    """The pattern itself is wrong."""

    def __init__(self, pattern: str, cause: str) -> None:
        super().__init__(f"parse pattern {pattern!r}: {cause}")
        self.pattern = pattern


def is_literal(tokens: list[Token]) -> bool:
    return all(isinstance(token, str) for token in tokens)


def crosses(tokens: list[Token]) -> bool:
    return DEEP in tokens or REST in tokens


def tokenize(pattern: str, *, doubled: bool) -> list[Token]:
    """`doubled`: `**` crosses names. moby eats the slash after it; `**name` (no slash) counts at any place."""
    tokens: list[Token] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if doubled and pattern[position : position + 1] == "*":
                position += 1
                slash = pattern[position : position + 1] == "/"
                position += 1 if slash else 0
                if position >= len(pattern):
                    tokens.append(REST)
                elif not tokens and not slash:
                    tokens += _loose(pattern, position)
                else:
                    tokens.append(DEEP)
            elif not tokens or tokens[-1] is not STAR:
                tokens.append(STAR)
        elif character == "?":
            tokens.append(ANY)
        elif character == "[":
            token, position = _class(pattern, position)
            tokens.append(token)
        elif character == "\\":
            if position >= len(pattern):
                raise GlobError(pattern, "syntax error in pattern: nothing after the last \\")
            tokens.append(pattern[position])
            position += 1
        else:
            tokens.append(character)
    return tokens


def _loose(pattern: str, position: int) -> list[Token]:
    """The beginning of `**name`: moby compares a literal name with the end of the path, whatever stands before it."""
    rest = pattern[position:]
    return [REST] if not any(character in "*?[\\" for character in rest) else [DEEP]


def _class(pattern: str, position: int) -> tuple[Class, int]:
    negated = pattern[position : position + 1] == "^"
    position += 1 if negated else 0
    ranges: list[tuple[str, str]] = []
    while True:
        if pattern[position : position + 1] == "]" and ranges:
            return (negated, tuple(ranges)), position + 1
        low, position = _class_character(pattern, position)
        high = low
        if pattern[position : position + 1] == "-":
            high, position = _class_character(pattern, position + 1)
        ranges.append((low, high))


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    character = pattern[position : position + 1]
    if character == "\\":
        position += 1
        character = pattern[position : position + 1]
    elif character in ("-", "]"):
        character = ""
    if not character or position + 1 >= len(pattern):
        raise GlobError(pattern, "syntax error in pattern: a bracket is not closed or has a bare - or ]")
    return character, position + 1


def can_be_slash(token: Token) -> bool:
    if not isinstance(token, tuple):
        return False
    negated, ranges = token
    return negated != any(low <= "/" <= high for low, high in ranges)


def is_odd(tokens: list[Token]) -> bool:
    """Patterns for which "leftmost is right" does not hold: `**` within a name, brackets that match a slash."""
    for index, token in enumerate(tokens):
        if can_be_slash(token):
            return True
        if token is DEEP and index and tokens[index - 1] != "/" and tokens[index - 1] is not DEEP:
            return True
        if token is REST and index + 1 < len(tokens):
            return True
        if token is REST and index and tokens[index - 1] != "/" and tokens[index - 1] is not DEEP:
            return True
    return False
