"""Which paths of a local folder a build needs.

Pure. `include` names what is copied or mounted (each part may be a wildcard); `exclude` is the .dockerignore. A folder
that is excluded is not entered unless a later `!pattern` could take something in it back.
"""

from __future__ import annotations

from trimaran.patterns import GlobError, PatternMatcher, glob_match
from trimaran.store.entries import SYMLINK, EntryList
from trimaran.store.folder import Verdict
from trimaran.store.tree import Tree


class Wanted:
    """`verdict` is asked in tree order, a folder before what is in it. No `include` at all means everything."""

    def __init__(self, *, include: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        self._include = [_parts(path) for path in include]
        self._everything = not include or any(not parts for parts in self._include)
        self._exclude = PatternMatcher(exclude) if exclude else None

    def verdict(self, path: str, is_folder: bool) -> Verdict:
        excluded = self._exclude is not None and self._exclude.excludes(path)
        if excluded and not (is_folder and self._exclude is not None and self._exclude.may_include_below(path)):
            return Verdict.PRUNE
        included = Verdict.KEEP if self._everything else self._included(path.split("/"), is_folder)
        if included is not Verdict.KEEP:
            return included
        if self._exclude is None:
            return Verdict.ALL  # what is in a wanted folder is wanted
        return Verdict.SKIP if excluded else included

    def _included(self, parts: list[str], is_folder: bool) -> Verdict:
        on_the_way = False
        for wanted in self._include:
            if _matches(wanted, parts):
                return Verdict.KEEP
            on_the_way = on_the_way or (
                is_folder and len(parts) < len(wanted) and _matches(wanted[: len(parts)], parts)
            )
        return Verdict.SKIP if on_the_way else Verdict.PRUNE

    def follow_links(self, entries: EntryList) -> bool:
        """Include what symlinks among `entries` lead to; True when that is something new."""
        if self._everything:
            return False
        tree = Tree.stack([entries])
        added = False
        for entry in entries:
            if entry.kind != SYMLINK:
                continue
            parts = _parts(tree.resolve(entry.path))
            if parts and not any(_matches(wanted, parts) for wanted in self._include):
                self._include.append(parts)
                added = True
        return added


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _matches(wanted: list[str], parts: list[str]) -> bool:
    """Whether `wanted` is `parts` or a folder above them."""
    return len(wanted) <= len(parts) and all(_name_matches(w, p) for w, p in zip(wanted, parts, strict=False))


def _name_matches(pattern: str, name: str) -> bool:
    if pattern == name:
        return True
    if not any(character in pattern for character in "*?[\\"):
        return False
    try:
        return glob_match(pattern, name)
    except GlobError:
        return False
