"""The variable that a misspelt one most likely means, by BuildKit's measure, because its texts name it."""

from __future__ import annotations

from collections.abc import Iterable

WITHIN = 2
"""Letters that may have to be put in, taken out or changed."""


def suggest(word: str, known: Iterable[str]) -> str:
    """The first of the nearest known words, "" when none is near or the word itself is known."""
    best, least = "", WITHIN + 1
    for candidate in known:
        if candidate == word:
            return ""
        if abs(len(candidate) - len(word)) < least and (distance := _distance(word, candidate)) < least:
            best, least = candidate, distance
    return best


def _distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b)))
    return row[-1]
