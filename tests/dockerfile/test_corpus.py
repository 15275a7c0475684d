"""Dockerfiles, a folder each, and what real BuildKit's frontend makes of them (`goldens/frontend/record.py`).

`buildkit.txt` is its graph and config, or its error. Where ours is the same nothing else is kept; `graph.txt` is ours
where it differs, `error.txt` our error with its exact place, and `reason` says why what we do is not what BuildKit does.
`request.json` may name target, platforms, build_args, images, labels, named, contexts; `own` says why BuildKit was not
asked. TRIMARAN_UPDATE_CORPUS=1 writes what is ours anew, to be read as a diff.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from trimaran.errors import TrimaranError
from trimaran.platforms import Platform

from .bridge import build, text
from .differences import page

CORPUS = Path(__file__).parent.parent / "corpus" / "dockerfile"
FOLDERS = sorted(path for path in CORPUS.iterdir() if path.is_dir())
UPDATE = os.environ.get("TRIMARAN_UPDATE_CORPUS")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")
_IMAGE_DIGEST = re.compile(r"(corpus/[\w.:-]+)@sha256:[0-9a-f]{64}")
_LINE = re.compile(
    r'^(dockerfile parse error on line \d+: )?(failed to marshal LLB definition: )?(failed to process "(?:[^"\\]|\\.)*": )?'
)


def request_of(folder):
    path = folder / "request.json"
    return json.loads(path.read_text()) if path.exists() else {}


def ours(folder):
    """("graph" or "error", text, the error itself)."""
    request = request_of(folder)
    request.pop("own", None)
    request["platforms"] = tuple(Platform.parse(item) for item in request.get("platforms", ()))
    for name in ("build_args", "labels", "named"):
        request[name] = tuple(dict(request.get(name, {})).items())
    request.update(_typed(request.pop("options", {})))
    ignore = folder / ".dockerignore"
    if ignore.exists():
        request["ignore"] = ignore.read_text()
    try:
        result, _ = build((folder / "Dockerfile").read_bytes(), **request)
        return "graph", masked(text(result)), None
    except TrimaranError as error:
        return "error", describe(error), error


def _typed(options):
    """What BuildKit takes as attributes, as our request has it."""
    typed = {}
    for name, value in options.items():
        if name == "add-hosts":
            typed["extra_hosts"] = tuple(tuple(pair.split("=")) for pair in value.split(","))
        elif name == "shm-size":
            typed["shm_size"] = int(value)
        elif name == "ulimit":
            limits = (one.replace("=", ":").split(":") for one in value.split(","))
            typed["ulimits"] = tuple((name, int(soft), int(hard)) for name, soft, hard in limits)
        else:
            known = {"force-network-mode": "network", "cgroup-parent": "cgroup_parent", "hostname": "hostname"}
            known["image-resolve-mode"] = "resolve_mode"
            typed[known[name]] = value
    return typed


def masked(graph):
    return _IMAGE_DIGEST.sub(r"\1@DIGEST", graph)


def describe(error):
    lines = [f"{type(error).__name__}: {error.message}", f"hint: {error.hint}"]
    source = error.where.source.split(b"\n") if error.where else []
    for place in error.where.ranges if error.where else ():
        lines.append(
            f"at {error.where.filename} {place.start.line}:{place.start.character}-{place.end.line}:{place.end.character}"
        )
        for number in range(place.start.line, place.end.line + 1):
            line = source[number - 1].decode("utf-8", "replace") if number <= len(source) else ""
            first = place.start.character if number == place.start.line else 0
            last = place.end.character if number == place.end.line and place.end.character else len(line)
            lines += ["  | " + line, "  | " + " " * first + "^" * max(last - first, 1)]
    return "\n".join(lines) + "\n"


def same_error(error, theirs):
    """Their words (a nearest word is our hint) within ours, at one of the lines they name."""
    message, _, lines = theirs.removeprefix("error: ").rpartition("\nlines ")
    cause, near, _ = message.partition(" (did you mean ")
    wanted = _LINE.sub("", cause)
    places = [tuple(map(int, part.split("-"))) for part in lines.split()]
    first = error.where.ranges[0].start.line if error.where and error.where.ranges else 0
    there = any(start <= first <= max(start, end) for start, end in places if start) or not any(map(max, places))
    # of words that are equally near BuildKit takes any
    return wanted in error.message and there and (not near or "did you mean " in error.hint)


def same(folder, kind, made, error):
    theirs = (folder / "buildkit.txt").read_text()
    if kind == "error":
        return theirs.startswith("error: ") and same_error(error, theirs)
    return made == masked(theirs)


@pytest.mark.parametrize("folder", [pytest.param(folder, id=folder.name) for folder in FOLDERS])
def test_corpus(folder):
    kind, made, error = ours(folder)
    alone = "own" in request_of(folder)
    differs = alone or not same(folder, kind, made, error)
    kept = folder / f"{kind}.txt"
    if UPDATE:
        for name in ("graph.txt", "error.txt"):
            (folder / name).unlink(missing_ok=True)
        if differs or kind == "error":
            kept.write_text(made)
    if differs:
        assert alone or (folder / "reason").exists(), f"not what BuildKit says, and no reason why:\n{made}"
    else:
        assert not (folder / "reason").exists(), "it is what BuildKit says: there is nothing to give a reason for"
    if differs or kind == "error":
        assert kept.exists(), made
        assert made == kept.read_text()


def test_every_line_of_the_language_has_its_cases():
    assert len(FOLDERS) >= 300


def test_every_difference_is_told():
    assert (CORPUS.parents[2] / "docs" / "differences.md").read_text() == page(), (
        "run PYTHONPATH=tests:src python -m dockerfile.differences > docs/differences.md"
    )
