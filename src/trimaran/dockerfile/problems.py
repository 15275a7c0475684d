"""What is wrong in a Dockerfile, said with BuildKit's words where it has some, and the nearest right word."""

from __future__ import annotations

from collections.abc import Iterable

from trimaran.errors import Location, UsageError


class DockerfileError(UsageError):
    """`cause` is the bare sentence; the message names the line in front of it."""

    def __init__(self, cause: str, *, hint: str = "", where: Location | None = None) -> None:
        line = where.ranges[0].start.line if where and where.ranges else 0
        super().__init__(f"dockerfile parse error on line {line}: {cause}" if line else cause, hint=hint, where=where)
        self.cause = cause


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` most likely means, "" when none is near. Case is ignored."""
    import difflib

    words = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), words, 1, 0.6)
    return words[near[0]] if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the nearest known word, else the known words (when there are few), else nothing."""
    names = list(known)
    near = nearest(word, names)
    if near:
        return f"did you mean {near}?"
    return "known: " + ", ".join(names) if 0 < len(names) <= 20 else ""
