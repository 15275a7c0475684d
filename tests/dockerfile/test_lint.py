"""Checks against what real BuildKit says of the same Dockerfiles (tests/corpus/lint, `goldens/lint/record.py`).

request.json may name calls, target, platform, build_args, images. Where we differ on purpose its `differs` says why,
and ours-lint.json and ours-lint.txt are expected instead; `own` cases are of rules that BuildKit does not have.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from trimaran.builders.options import Call
from trimaran.cli.call_result import shown
from trimaran.dockerfile.convert import convert
from trimaran.graph.frontend import FrontendRequest
from trimaran.platforms import Platform

from .bridge import AMD64, FakeBridge

CORPUS = Path(__file__).parent.parent / "corpus" / "lint"
UPDATE = os.environ.get("TRIMARAN_UPDATE_CORPUS")
FOLDERS = sorted(path for path in CORPUS.iterdir() if path.is_dir())


def request_of(folder):
    path = folder / "request.json"
    return json.loads(path.read_text()) if path.exists() else {}


def ask(folder, subrequest):
    request = request_of(folder)
    names = ("Dockerfile", ".dockerignore")
    files = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
    bridge = FakeBridge({"dockerfile": files, "context": files}, {"*": {}} | request.get("images", {}))
    asked = FrontendRequest(
        build_platform=AMD64,
        target=request.get("target", ""),
        build_args=tuple(request.get("build_args", {}).items()),
        platforms=tuple(Platform.parse(name) for name in request.get("platform", "").split(",") if name),
        subrequest=subrequest,
    )
    return dict(asyncio.run(convert(asked, bridge)).metadata), bridge


def in_order(document):
    """What BuildKit tells of several variables of one word comes in any order; the words of errors are our own."""
    if isinstance(document, dict):
        for kind in ("secrets", "ssh"):
            document.get(kind, []).sort(key=lambda one: one["name"])
    if isinstance(document, dict) and "warnings" in document:
        document["buildError"] = "buildError" in document
        (document["warnings"] or []).sort(
            key=lambda one: (one["location"]["ranges"][0]["start"]["line"], one["ruleName"], one["detail"])
        )
    return document


def sections(text):
    """The same of text: a paragraph per warning; only that there is an error, and the exit code."""
    text, mark, rest = text.partition("ERROR: ")
    code = rest.rpartition("exit code ")[2] if mark else ""
    return [
        mark,
        code,
        *sorted(part.rstrip("\n") for part in text.replace("\nexit code", "\n\nexit code").split("\n\n")),
    ]


def expected(folder, name):
    ours = folder / f"ours-{name}"
    if not ours.exists():
        return (folder / name).read_text()
    assert request_of(folder).get("differs") or request_of(folder).get("own"), "say in request.json why it differs"
    return ours.read_text()


def cases():
    for folder in FOLDERS:
        for call in request_of(folder).get("calls", ["lint"]):
            yield pytest.param(folder, call, id=f"{folder.name}-{call}")


@pytest.mark.parametrize(("folder", "call"), list(cases()))
class TestCorpus:
    def test_json(self, folder, call):
        metadata, _ = ask(folder, f"frontend.{call}")
        made = json.loads(metadata["result.json"])
        if UPDATE and keeps(folder):
            (folder / f"ours-{call}.json").write_bytes(metadata["result.json"] + b"\n")
        assert in_order(made) == in_order(json.loads(expected(folder, f"{call}.json")))

    def test_text(self, folder, call):
        metadata, _ = ask(folder, f"frontend.{call}")
        out, err, code = shown(metadata, Call(call))
        made = f"{out}{err}exit code {code}\n"
        if UPDATE and keeps(folder):
            (folder / f"ours-{call}.txt").write_text(made)
        wanted = expected(folder, f"{call}.txt")
        assert (sections(made) if call == "lint" else made) == (sections(wanted) if call == "lint" else wanted)


def keeps(folder):
    return "differs" in request_of(folder) or "own" in request_of(folder)
