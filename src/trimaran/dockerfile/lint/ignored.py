"""COPY of what `.dockerignore` keeps out of the context."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from trimaran.dockerfile import gotext
from trimaran.dockerfile.instructions import Copy
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.state import StageState, Target
from trimaran.dockerfile.words import ExpansionError
from trimaran.patterns import PatternMatcher, clean

COPY_IGNORED_FILE = Rule(
    name="CopyIgnoredFile",
    description="Attempting to Copy file that is excluded by .dockerignore",
    message="Attempting to {keyword} file {path} that is excluded by .dockerignore",
)
_EVERYTHING = ("*", "**", "**/*")
_REMOTE = ("http://", "https://", "git://", "ssh://", "git+ssh://", "git@")


def copy_ignored_file(item: Copy, state: StageState, target: Target) -> Iterator[Finding]:
    """Not where a pattern begins with `!`: what is then left in is not known from the pattern alone."""
    patterns = target.ignored
    if item.source_stage or not patterns or any(pattern.startswith("!") for pattern in patterns):
        return
    matcher = _matcher(tuple(patterns))
    for text in item.sources:
        try:
            source = target.expander.word(text, state.env)
        except ExpansionError:
            return
        path = clean(source)
        if source.startswith(_REMOTE) or (path in (".", "/") and not any(one in _EVERYTHING for one in matcher.texts)):
            continue
        if matcher.matches_or_parent(path):
            yield COPY_IGNORED_FILE.found(item.node, keyword="Add" if item.is_add else "Copy", path=gotext.quote(path))


@functools.lru_cache(maxsize=2)
def _matcher(patterns: tuple[str, ...]) -> PatternMatcher:
    """Compiled once for all the copies of a file."""
    return PatternMatcher(patterns)
