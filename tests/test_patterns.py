"""moby's matcher, against its own tables, against a plain reading of its rules, and for linear time."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimaran.patterns import GlobError, PatternMatcher, clean, find_last, glob_match
from trimaran.patterns.tokens import ANY, DEEP, REST, STAR, tokenize

ROOT = Path(os.environ.get("TRIMARAN_CASES") or Path(__file__).parents[2] / "shared" / "cases")
FILE = ROOT / "dockerignore.json"
CASES = json.loads(FILE.read_text())["cases"] if FILE.exists() else []


def of(kind):
    chosen = [case for case in CASES if case["kind"] == kind]
    return [pytest.param(case, id=f"{case['id']}-{case.get('patterns')}") for case in chosen] or [None]


def walk(patterns, path):
    """The answer of a walk down to `path`, as file sync does it."""
    info, matched, parts = 0, False, clean(path).split("/")
    for end in range(1, len(parts) + 1):
        matched, info = patterns.child("/".join(parts[:end]), info)
    assert patterns.excludes(clean(path)) == matched
    return matched


@pytest.mark.parametrize("case", of("match"))
def test_match(case):
    if case is None:
        return
    if "error" in case["expect"]:
        with pytest.raises(GlobError):
            PatternMatcher(case["patterns"])
        return
    patterns, expected = PatternMatcher(case["patterns"]), case["expect"]["matched"]
    assert patterns.matches_or_parent(case["path"]) == expected
    if "holds for" in case.get("note", "") and case["path"] != "/":
        assert walk(patterns, case["path"]) == expected


@pytest.mark.parametrize("case", of("new"))
def test_new(case):
    if case is None:
        return
    if case["expect"].get("error"):
        with pytest.raises(GlobError):
            PatternMatcher(case["patterns"])
        return
    patterns = PatternMatcher(case["patterns"])
    assert len(patterns.texts) == case["expect"].get("count", len(patterns.texts))
    assert patterns.has_exclusions == case["expect"].get("exclusions", patterns.has_exclusions)


@pytest.mark.parametrize("case", of("compile"))
def test_compile(case):
    """moby's way of matching each pattern, told from our tokens."""
    if case is None:
        return
    tokens = tokenize(case["patterns"][0], doubled=True)
    plain = [token for token in tokens if isinstance(token, str)]
    if len(plain) == len(tokens):
        kind, regexp = "exactMatch", None
    elif len(plain) == len(tokens) - 1 and tokens[0] in (REST, DEEP):
        kind, regexp = "suffixMatch", None
    elif len(plain) == len(tokens) - 1 and tokens[-1] is REST:
        kind, regexp = "prefixMatch", None
    else:
        kind, regexp = "regexpMatch", "^" + "".join(map(go_regexp, tokens)) + "$"
    assert (kind, regexp) == (case["expect"]["match_type"], case["expect"]["regexp"])


def go_regexp(token):
    if isinstance(token, tuple):
        return "[" + "^" * token[0] + "".join(low + "-" + high for low, high in token[1]) + "]"
    if isinstance(token, str):
        return "\\" + token if token in ".+()|{}$" else token
    return {STAR: "[^/]*", ANY: "[^/]", DEEP: "(.*/)?", REST: ".*"}[token]


@pytest.mark.parametrize("case", of("readall"))
def test_read(case):
    if case is None:
        return
    from trimaran.dockerfile.ignore import read_ignore

    assert list(read_ignore(case["content"].encode()).patterns) == case["expect"]["lines"]


def moby(pattern, path):
    """moby's rules for one pattern without escapes and brackets, spelt out over `re` (which may backtrack)."""
    kind, out, index, first = "exact", "^", 0, True
    while index < len(pattern):
        if pattern.startswith("**", index):
            index += 3 if pattern[index + 2 : index + 3] == "/" else 2
            if index >= len(pattern):
                if kind == "exact":
                    kind = "prefix"
                else:
                    out, kind = out + ".*", "regexp"
            else:
                out, kind = out + "(.*/)?", "regexp"
            if first:
                kind = "suffix"
        elif pattern[index] == "*":
            out, kind, index = out + "[^/]*", "regexp", index + 1
        elif pattern[index] == "?":
            out, kind, index = out + "[^/]", "regexp", index + 1
        else:
            out, index = out + re.escape(pattern[index]), index + 1
        first = False
    if kind == "exact":
        return path == pattern
    if kind == "prefix":
        return path.startswith(pattern[:-2])
    if kind == "suffix":
        suffix = pattern[2:]
        return path.endswith(suffix) or (suffix.startswith("/") and path == suffix[1:])
    return re.match(out + r"\Z", path, re.DOTALL) is not None


def moby_matches(patterns, path):
    matched = False
    parents = ["/".join(path.split("/")[: end + 1]) for end in range(path.count("/"))]
    for pattern in patterns:
        excluding = pattern.startswith("!")
        if excluding == matched and any(moby(clean(pattern.removeprefix("!")), step) for step in [path, *parents]):
            matched = not excluding
    return matched


segments = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*b", "?", "**a", "a**", "a*b", "*a*", "b**a"])
texts = st.lists(segments, min_size=1, max_size=4).map("/".join)
paths = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab", "abab"]), min_size=1, max_size=5).map("/".join)


@settings(max_examples=1500, deadline=None)
@given(texts, paths)
def test_one_pattern_is_moby(pattern, path):
    assert PatternMatcher([pattern]).matches(path) == moby(clean(pattern), path)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.booleans(), texts), max_size=5), paths)
def test_lists_are_moby(items, path):
    patterns = [("!" if excluding else "") + text for excluding, text in items]
    assert PatternMatcher(patterns).matches_or_parent(path) == moby_matches(patterns, path)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.booleans(), texts), max_size=5), paths)
def test_a_folder_not_entered_has_nothing_to_take_back(items, path):
    patterns = PatternMatcher([("!" if excluding else "") + text for excluding, text in items])
    info, parts, closed = 0, path.split("/"), False
    for end in range(1, len(parts) + 1):
        step = "/".join(parts[:end])
        matched, info = patterns.child(step, info)
        assert matched or not closed
        closed = closed or (matched and not patterns.may_include_below(step))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab*?[]\\!^-/. {}()|+$", max_size=30), st.text(alphabet="ab/.^-*", max_size=20))
def test_any_text_is_a_pattern_or_an_error(pattern, path):
    try:
        patterns = PatternMatcher([pattern])
    except GlobError:
        return
    patterns.matches_or_parent(path)
    patterns.may_include_below(clean(path))


def test_excluded_folders_are_entered_only_when_needed():
    plain = PatternMatcher(["node_modules", "*.log"])
    assert plain.child("node_modules") == (True, 1)
    assert not plain.may_include_below("node_modules")
    some = PatternMatcher(["*", "!src", "!docs/*/keep.txt", "!**/deep.md"])
    assert some.child("src")[0] is False
    assert PatternMatcher(["*", "!docs/*/keep.txt"]).may_include_below("docs")
    assert PatternMatcher(["*", "!docs/*/keep.txt"]).may_include_below("docs/x")
    assert not PatternMatcher(["*", "!docs/*/keep.txt"]).may_include_below("docs/x/keep.txt")
    assert not PatternMatcher(["*", "!docs/*/keep.txt"]).may_include_below("other")
    assert some.may_include_below("anything/at/all")


def test_classes():
    assert glob_match("[a-c]x", "bx")
    assert not glob_match("[^a-c]x", "bx")
    assert glob_match("a[^a]b", "a/b")  # as Go does
    assert PatternMatcher(["[._]*.s[a-w][a-z]"]).matches(".main.swp")
    assert PatternMatcher([r"\[x\]"]).matches("[x]")


def test_find_last_names_the_pattern_that_decided():
    patterns = ["*", "!src", "src/*.o", "dist"]
    assert find_last(patterns, "src/a.o") == 2
    assert find_last(patterns, "src/a.c") is None
    assert find_last(patterns, "readme") == 0


@pytest.mark.parametrize(
    "pattern",
    ["a*" * 40 + "b", "*a" * 40 + "/b", "**/a*" * 12 + "b", "a**" * 30 + "b", "**/[^b]*" * 10 + "c", "?*" * 60 + "!"],
)
def test_linear_time(pattern):
    patterns = PatternMatcher([pattern])
    start = time.process_time()
    for path in ("a" * 4000, "a/" * 2000 + "a", ("a" * 50 + "/") * 40 + "x"):
        patterns.matches(path)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [("", "."), ("a//b/", "a/b"), ("./a/../b", "b"), ("/../a", "/a"), ("../a/..", ".."), ("//", "/"), ("a/./b", "a/b")],
)
def test_clean(path, cleaned):
    assert clean(path) == cleaned
