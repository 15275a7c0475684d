"""The known word a mistyped one most likely meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word at the least edit distance, "" when none is within a third of its length (at least 1)."""
    best, best_distance = "", max(len(word), 3) // 3 + 1
    for candidate in known:
        if abs(len(candidate) - len(word)) >= best_distance:
            continue
        distance = edits(word.lower(), candidate.lower())
        if distance < best_distance:
            best, best_distance = candidate, distance
    return best


def edits(left: str, right: str) -> int:
    """Edit distance of two short words: insertions, deletions, replacements, swaps of neighbours."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and b == left[i - 2]:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the nearest known word, else the known words (when there are few), else nothing."""
    names = list(known)
    near = nearest(word, names)
    if near:
        return f"did you mean {near}?"
    return "known: " + ", ".join(names) if 0 < len(names) <= 20 else ""


def unknown(what: str, word: str, known: Iterable[str]) -> tuple[str, str]:
    """Message and hint for a word that is none of the known ones: names them and the nearest."""
    words = list(known)
    guess = nearest(word, words)
    listed = ", ".join(words)
    return f'unknown {what} "{word}"', f"did you mean {guess}? known: {listed}" if guess else f"known: {listed}"
