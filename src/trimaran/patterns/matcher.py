"""Lists of patterns and what they say of a path; walks ask folder by folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trimaran.patterns.tokens import GlobError, tokenize

if TYPE_CHECKING:
    from trimaran.patterns.runs import Run

_SPACE = " \t\n\v\f\r\x85\xa0"


def clean(path: str) -> str:
    """Go's path.Clean: no empty, `.` or inner `..` elements, no trailing slash; "" is "."."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts and parts[-1] != "..":
            parts.pop()
        elif not rooted:
            parts.append(part)
    return ("/" + "/".join(parts)) if rooted else "/".join(parts) or "."


class PatternMatcher:
    """A compiled list. Paths are relative, cleaned, with `/`; an empty list matches nothing."""

    __slots__ = ("_folders", "_runs", "has_exclusions", "texts")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Patterns in order, blank ones left out; GlobError for the first wrong one."""
        from trimaran.patterns.runs import Run

        self._runs: list[Run] = []
        self._folders: dict[str, int] = {"": 0}
        self.has_exclusions = False
        texts: list[str] = []
        for pattern in patterns:
            text = pattern.strip(_SPACE)
            if not text:
                continue
            text = clean(text)
            excluding = text.startswith("!")
            if text == "!":
                raise GlobError(pattern, "illegal exclusion pattern: nothing after '!'")
            texts.append(text)
            self.has_exclusions |= excluding
            if not self._runs or self._runs[-1].excluding != excluding:
                self._runs.append(Run(excluding))
            self._runs[-1].add(text[1:] if excluding else text)
        self.texts = tuple(texts)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def matches(self, path: str) -> bool:
        """Whether `path` alone, without its parents, is matched."""
        return self._decide(path, 0)[0]

    def matches_or_parent(self, path: str) -> bool:
        """Whether `path` or a folder it is in is matched, each pattern being asked about all of them in turn."""
        chain = _parents(path)
        matched = False
        for run in self._runs:
            if run.excluding == matched and any(run.matches(step) for step in chain):
                matched = not run.excluding
        return matched

    def excludes(self, path: str) -> bool:
        """For walks from the top: `child` with what is known of the folders above, which is kept here."""
        return self._decide(path, self._folder(path.rpartition("/")[0]))[0]

    def _folder(self, path: str) -> int:
        info = self._folders.get(path)
        if info is None:
            info, end = 0, -1
            while end < len(path):
                end = path.find("/", end + 1)
                end = len(path) if end < 0 else end
                info = self._decide(path[:end], info)[1]
            self._folders[path] = info
        return info

    def child(self, path: str, parent: int = 0) -> tuple[bool, int]:
        """For walks: whether `path` is matched, given what this returned for the folder it is in (0 at the top).

        Keep the number for the walk into a folder. This is what BuildKit's file sync does, and it differs from
        `matches_or_parent` where a folder is matched by a pattern that only counts after another of its files' ones.
        """
        return self._decide(path, parent)

    def may_include_below(self, folder: str) -> bool:
        """Whether a walk has to enter `folder`, itself matched, because some `!pattern` could match inside of it."""
        parts = folder.split("/")
        return any(run.excluding and run.reaches_into(parts) for run in self._runs)

    def _decide(self, path: str, parent: int) -> tuple[bool, int]:
        matched, info = False, 0
        for index, run in enumerate(self._runs):
            if parent >> index & 1 or (run.excluding == matched and run.matches(path)):
                info |= 1 << index
                matched = not run.excluding
        return matched, info


def find_last(patterns: Sequence[str], path: str) -> int | None:
    """Index of the pattern that decided that `path` (or a folder it is in) is matched; None when it is not."""
    chain = _parents(path)
    decided: int | None = None
    for index, pattern in enumerate(patterns):
        single = PatternMatcher((pattern,))
        for run in single._runs:  # noqa: SLF001 - one pattern has one run
            if run.excluding == (decided is not None) and any(run.matches(step) for step in chain):
                decided = None if run.excluding else index
    return decided


def glob_match(pattern: str, name: str) -> bool:
    """Go's path.Match for one pattern without `**` and parents; GlobError when the pattern is wrong."""
    from trimaran.patterns.compiled import compile_one

    return compile_one(tokenize(pattern, doubled=False)).fullmatch(name) is not None


def _parents(path: str) -> list[str]:
    """The path first, then the folders it is in from the top."""
    parts = path.split("/")
    return [path, *("/".join(parts[:end]) for end in range(1, len(parts)))]
