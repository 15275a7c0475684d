"""Time grows with the input and no faster; and the costs that the frontend may have.

Ratios of processor time of one process, the best of some runs each: they hold on a busy machine too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from trimaran.dockerfile.heredocs import marks_in
from trimaran.dockerfile.ignore import read_ignore
from trimaran.dockerfile.parse import parse
from trimaran.dockerfile.words import Expander
from trimaran.patterns import PatternMatcher

from .bridge import build

FOUR_TIMES = 4
SLACK = 2.5
"""Linear work on four times the input takes four times as long; quadratic work sixteen times."""


def cost(work, size, rounds=3):
    best = float("inf")
    for _ in range(rounds):
        prepared = work(size)
        start = time.process_time()
        prepared()
        best = min(best, time.process_time() - start)
    return best


def expansion(text):
    return lambda: Expander().expand(text, {"a": "x/y." * 8, "b": ""})


def matching(patterns, paths):
    matcher = PatternMatcher(patterns)
    return lambda: [matcher.matches_or_parent(path) for path in paths]


WORK = {
    "instructions": lambda n: lambda: parse(b"FROM a\n" + b"COPY --chown=1 a b\n" * n),
    "continuations": lambda n: lambda: parse(b"FROM a\nRUN a" + b" \\\n b" * n),
    "comments between": lambda n: lambda: parse(b"FROM a\nRUN a \\\n" + b"# c\n" * n + b" b\n"),
    "heredoc lines": lambda n: lambda: parse(b"FROM a\nRUN <<E\n" + b"line\n" * n + b"E\n"),
    "heredocs": lambda n: lambda: parse(b"FROM a\n" + b"COPY <<E /x\na\nE\n" * n),
    "open heredocs": lambda n: lambda: marks_in("RUN " + "<<a " * n),
    "flags": lambda n: lambda: parse(b"FROM a\nRUN" + b" --mount=type=tmpfs,target=/x" * (n // 8) + b" a\n"),
    "pairs": lambda n: lambda: parse(b"FROM a\nENV" + b" a=b" * n),
    "json": lambda n: lambda: parse(b"FROM a\nCMD [" + b'"a",' * n + b'"b"]\n'),
    "stages": lambda n: (
        lambda: build("FROM scratch AS s0\n" + "".join(f"FROM s{i} AS s{i + 1}\n" for i in range(n // 8)))
    ),
    "conversion": lambda n: lambda: build("FROM scratch\n" + "ENV a=b\nCOPY a b\n" * (n // 4)),
    "plain text": lambda n: expansion("ab" * n),
    "variables": lambda n: expansion("$a${b:-c}" * n),
    "quotes": lambda n: expansion("\"a'b\"'c' " * n),
    "escapes": lambda n: expansion("\\a" * n),
    "nested once": lambda n: expansion("${b:-" + "$a" * n + "}"),
    "trimmed": lambda n: expansion("${a%%" + "*y" * n + "}"),
    "replaced": lambda n: expansion("${a//y" + "?" * n + "/z}"),
    "ignored literals": lambda n: matching([f"folder{i}/name" for i in range(100)], [f"a/b/{i}" for i in range(n)]),
    "ignored stars": lambda n: matching(["**/*.o", "*/x*y*z", "a/**/b/*c"] * 8, [f"a/{i}/b/{i}.c" for i in range(n)]),
    "many patterns": lambda n: matching([f"**/n{i}*.x" for i in range(n // 16)], ["a/b/c"] * 200),
    "long paths": lambda n: matching(["**/a*b*c*d"], ["/".join(["abcab"] * (n // 64))] * 20),
    "ignore lines": lambda n: lambda: read_ignore(b"!a/**/b\n# c\n" * n),
}


@pytest.mark.parametrize("name", WORK)
def test_linear(name):
    work = WORK[name]
    for _ in range(3):  # what else runs here may spoil a measurement, not three
        ratio = cost(work, 4000) / max(cost(work, 1000), 2e-5)
        if ratio < FOUR_TIMES * SLACK:
            return
    assert ratio < FOUR_TIMES * SLACK, f"{name}: {ratio:.1f} times as long"


def test_five_thousand_lines():
    text = "FROM alpine\n" + "RUN echo a && b\nENV A=b\nCOPY a b\nLABEL a=b\n# c\n" * 1000
    assert cost(lambda _: lambda: build(text), 0, rounds=3) < 0.5


_IMPORT = """
import asyncio, json, msgspec, re, time
import trimaran.aio, trimaran.graph.frontend
start = time.process_time()
import trimaran.dockerfile.convert
print(time.process_time() - start)
"""


def test_import(tmp_path):
    """What any program that builds has loaded already does not count."""
    import trimaran

    source = os.path.dirname(os.path.dirname(trimaran.__file__))
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONPATH": source}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    costs = []
    for _ in range(4):  # the first compiles
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT], env=environment, check=True, capture_output=True, text=True
        )
        costs.append(float(done.stdout))
    assert min(costs) < 0.025
