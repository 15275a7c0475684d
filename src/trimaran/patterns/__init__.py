"""Path patterns of `.dockerignore`, `--exclude` and the like: moby's matcher, compiled for whole trees.

Semantics (moby/patternmatcher): `*`, `?` and `[a-z]` stay within a name, `**` crosses names, a matched folder matches
all below it, `!` takes back, the last that applies wins. Law: matching is linear in the path; no pattern can make it
backtrack over more than one star. Neighbouring patterns of one sign are matched together, as a *run*.
Where moby hands text on to Go's regexp, a backslash here always just quotes (`\\d` is a `d`), and so do brackets.
"""

from __future__ import annotations

from trimaran.patterns.matcher import PatternMatcher, clean, find_last, glob_match
from trimaran.patterns.tokens import GlobError

__all__ = ["GlobError", "PatternMatcher", "clean", "find_last", "glob_match"]
