"""Shell patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and escapes, without brackets.

Law: no backtracking over more than one chunk: between two stars the leftmost place is always right.
"""

from __future__ import annotations

import re

ANY = None
"""In a chunk: one character, whichever."""
Chunk = tuple[str | None, ...]


class Glob:
    """`chunks` are what stands between the stars; ValueError for an escape of a character that needs none."""

    __slots__ = ("_regexes", "chunks")

    def __init__(self, pattern: str) -> None:
        self.chunks = _parse(pattern)
        self._regexes: dict[Chunk, re.Pattern[str]] = {}

    def without_prefix(self, value: str, *, longest: bool) -> str:
        end = self._end_at(value, 0, longest=longest)
        return value if end is None else value[end:]

    def without_suffix(self, value: str, *, longest: bool) -> str:
        mirror = Glob("")
        mirror.chunks = tuple(tuple(reversed(chunk)) for chunk in reversed(self.chunks))
        return mirror.without_prefix(value[::-1], longest=longest)[::-1]

    def replace(self, value: str, replacement: str, *, everywhere: bool) -> str:
        """The leftmost longest match, or all, replaced by literal text."""
        parts: list[str] = []
        position, last_end = 0, -1
        while position <= len(value):
            found = self._search(value, position)
            if found is None:
                break
            start, end = found
            if start == end == last_end:  # an empty match may not touch the one before
                parts.append(value[position : position + 1])
                position += 1
                continue
            parts += value[position:start], replacement
            position = last_end = end
            if not everywhere:
                break
            if start == end:
                parts.append(value[position : position + 1])
                position += 1
        parts.append(value[position:])
        return "".join(parts)

    def _search(self, value: str, position: int) -> tuple[int, int] | None:
        # if the chunks after the first do not follow its first occurrence, they follow no later one
        start = self._find(self.chunks[0], value, position)
        if start is None:
            return None
        end = self._end_at(value, start, longest=True)
        return None if end is None else (start, end)

    def _end_at(self, value: str, start: int, *, longest: bool) -> int | None:
        first, *rest = self.chunks
        if not self._fits(first, value, start):
            return None
        end = start + len(first)
        for index, chunk in enumerate(rest):
            if longest and index == len(rest) - 1:
                last = self._find_last(chunk, value, end)
                return None if last is None else last + len(chunk)
            found = self._find(chunk, value, end)
            if found is None:
                return None
            end = found + len(chunk)
        return end

    def _fits(self, chunk: Chunk, value: str, start: int) -> bool:
        return start + len(chunk) <= len(value) and all(
            wanted is ANY or wanted == value[start + index] for index, wanted in enumerate(chunk)
        )

    def _find(self, chunk: Chunk, value: str, start: int) -> int | None:
        if not chunk:
            return start
        match = self._regex(chunk).search(value, start)
        return match.start() if match else None

    def _find_last(self, chunk: Chunk, value: str, start: int) -> int | None:
        if not chunk:
            return len(value)
        mirrored = tuple(reversed(chunk))
        match = self._regex(mirrored).search(value[start:][::-1])
        return len(value) - match.end() if match else None

    def _regex(self, chunk: Chunk) -> re.Pattern[str]:
        regex = self._regexes.get(chunk)
        if regex is None:
            text = "".join("." if wanted is ANY else re.escape(wanted) for wanted in chunk)
            regex = self._regexes[chunk] = re.compile(text, re.DOTALL)
        return regex


def _parse(pattern: str) -> tuple[Chunk, ...]:
    chunks: list[list[str | None]] = [[]]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            chunks.append([])
        elif character == "?":
            chunks[-1].append(ANY)
        elif character != "\\":
            chunks[-1].append(character)
        else:
            following = pattern[position : position + 1]
            if following not in ("*", "?", "\\", "}", "/") or not following:
                raise ValueError(f"invalid escape '\\{following}'")
            chunks[-1].append(following)
            position += 1
    return tuple(tuple(chunk) for chunk in chunks)
