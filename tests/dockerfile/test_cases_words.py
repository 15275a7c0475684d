"""The field's own tables of variable expansion and word splitting (see test_cases_parser)."""

from __future__ import annotations

import pytest

from trimaran.dockerfile.globs import ANY, Glob
from trimaran.dockerfile.words import Expander, ExpansionError

from .test_cases_parser import load

CASES = load("envvar.json")


def of(*kinds):
    chosen = [case for case in CASES if case["kind"] in kinds]
    return [pytest.param(case, id=case["id"]) for case in chosen] or [pytest.param(None, id="absent")]


def environment(case):
    env = case.get("env") or {}
    return dict(pair.partition("=")[::2] for pair in env) if isinstance(env, list) else env


@pytest.mark.parametrize("case", of("word", "ProcessWord", "ProcessWordWithMatches"))
def test_word(case):
    if case is None or case.get("platform") == "windows":
        return
    expect, expander = case["expect"], Expander(case.get("escape", "\\"))
    if "error" in expect:
        with pytest.raises(ExpansionError) as caught:
            expander.expand(case["input"], environment(case))
        if isinstance(expect["error"], dict):
            assert expect["error"]["contains"] in str(caught.value)
        return
    result = expander.expand(case["input"], environment(case))
    assert result.value == expect["value"] == expander.word(case["input"], environment(case))
    if "matched" in expect:
        assert sorted(result.matched) == sorted(expect["matched"])
        assert sorted(result.unmatched) == sorted(expect["unmatched"])


def regex_of(glob, star):
    special = "[]{}.+()|^$*?\\"
    chunks = ["".join("." if c is ANY else "\\" + c if c in special else c for c in chunk) for chunk in glob.chunks]
    return star.join(chunks)


@pytest.mark.parametrize("case", of("glob_to_regex"))
def test_glob(case):
    if case is None:
        return
    if "error" in case["expect"]:
        with pytest.raises(ValueError, match="escape"):
            Glob(case["input"])
    else:
        assert "^" + regex_of(Glob(case["input"]), ".*") == case["expect"]["value"]


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in load("words.json")] or [None])
def test_words(case):
    if case is None:
        return
    expander = Expander(case["escape"])
    if "error" in case["expect"]:
        with pytest.raises(ExpansionError):
            expander.words(case["input"], environment(case))
    else:
        assert list(expander.words(case["input"], environment(case))) == case["expect"]["words"]
