"""The project's own Dockerfiles: a folder each, with the graph they become or the error they get.

`request.json` may name target, platforms, build_args, images, labels, named, contexts; TRIMARAN_UPDATE_CORPUS=1 writes
what is expected anew, to be read as a diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trimaran.errors import TrimaranError
from trimaran.platforms import Platform

from .bridge import build, text

CORPUS = Path(__file__).parent.parent / "corpus" / "dockerfile"
FOLDERS = sorted(path for path in CORPUS.iterdir() if path.is_dir())


def expected(folder):
    request = json.loads((folder / "request.json").read_text()) if (folder / "request.json").exists() else {}
    request["platforms"] = tuple(Platform.parse(item) for item in request.get("platforms", ()))
    for name in ("build_args", "labels", "named"):
        request[name] = tuple(dict(request.get(name, {})).items())
    ignore = folder / ".dockerignore"
    if ignore.exists():
        request["ignore"] = ignore.read_text()
    try:
        result, _ = build((folder / "Dockerfile").read_bytes(), **request)
        return "graph.txt", text(result)
    except TrimaranError as error:
        return "error.txt", describe(error)


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


@pytest.mark.parametrize("folder", [pytest.param(folder, id=folder.name) for folder in FOLDERS])
def test_corpus(folder):
    name, ours = expected(folder)
    if os.environ.get("TRIMARAN_UPDATE_CORPUS"):
        (folder / "graph.txt").unlink(missing_ok=True)
        (folder / "error.txt").unlink(missing_ok=True)
        (folder / name).write_text(ours)
    assert (folder / name).exists(), ours
    assert ours == (folder / name).read_text()


def test_corpus_is_there():
    assert len(FOLDERS) >= 50
