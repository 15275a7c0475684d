"""Reasons in words, and where displays show them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from trimaran.cli.display.misses import ADOPTED, text
from trimaran.cli.display.plain import Plain
from trimaran.cli.display.rawjson import RawJson
from trimaran.cli.display.terminal import strip_escapes
from trimaran.cli.display.tty import Tty
from trimaran.digest import Digest
from trimaran.events import AdoptionEvent, MissEvent, VertexEvent
from trimaran.misses import (
    BytesGone,
    CacheOff,
    Evicted,
    FileChange,
    FilesChanged,
    InputChange,
    NeverBuilt,
    OpChange,
    Reason,
    SecretChange,
    SourceChange,
    SourceReplaced,
    StepChange,
    Unfinished,
)

NOW = 1_700_000_000_000_000_000
HOUR = 3600 * 1_000_000_000
FILES = tuple(FileChange(name, "content") for name in ("a", "b", "c", "d"))
WORDS = {
    NeverBuilt(): "built for the first time",
    NeverBuilt(platform="linux/arm64"): "built for linux/arm64 for the first time",
    Unfinished("failed", NOW - 3 * HOUR): "it failed 3 hours ago, and nothing of it was kept",
    Unfinished("canceled", NOW - 3 * HOUR): "it was stopped 3 hours ago, and nothing of it was kept",
    CacheOff(): "--no-cache",
    OpChange("command"): "command changed",
    OpChange("argument", "PIP_INDEX"): "argument PIP_INDEX changed",
    OpChange("mount", "/src", "added"): "mount /src added",
    OpChange("argument", "A\x1b[31m"): "argument A [31m changed",
    StepChange("[a 1/2] RUN x"): "the step above changed: [a 1/2] RUN x",
    SourceChange("alpine:3", "sha256:" + "a" * 64, "sha256:" + "b" * 64): (
        "base alpine:3 moved sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb"
    ),
    SourceReplaced("alpine:3", "debian"): "base is debian, was alpine:3",
    FilesChanged("src", 812, 1, (FileChange("src/a.py", "content"),)): "1 of 812 files changed: src/a.py (content)",
    FilesChanged("", 9, 4, FILES, "alpine:3"): (
        "4 of 9 files changed: a (content), b (content), c (content), …, of alpine:3"
    ),
    FilesChanged("f", 1, 1, (FileChange("f", "mode"),)): "1 of 1 file changed: f (mode)",
    FilesChanged("src", 812): "files of src changed",
    SecretChange("s"): "secret s changed",
    SecretChange("s", "added"): "secret s counts now: it is given with cache-key=hash",
    SecretChange("s", "removed"): "secret s counts no more: it was given with cache-key=hash",
    SourceReplaced("alpine:3", "debian", "source"): "source is debian, was alpine:3",
    OpChange("--link"): "--link changed",
    InputChange("rootfs 0"): "rootfs 0 changed",
    Evicted("limit", NOW - 3 * HOUR, 20_000_000_000): "evicted 3 hours ago by the 20.00GB limit",
    Evicted("age", NOW - HOUR): "evicted about an hour ago because nobody had used it for long",
    Evicted("prune", NOW - 3 * HOUR): "evicted 3 hours ago by `prune`",
    Evicted("lost", NOW - 3 * HOUR): "evicted 3 hours ago because its bytes were gone",
    BytesGone("reg/cache:1"): "record found in reg/cache:1 but its blob is gone",
    BytesGone(): "record found in the store but its blob is gone",
}


def test_the_docs_have_every_type_of_reason_with_its_fields():
    page = (Path(__file__).parents[2] / "docs/explain.md").read_text()
    section = page.partition("## For programs")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*)\|$", section, re.MULTILINE))
    kinds = {kind.__struct_config__.tag: kind for kind in get_args(Reason)}
    assert set(rows) == set(kinds)
    for tag, kind in kinds.items():
        assert {f"`{field}`" for field in kind.__struct_fields__} <= set(re.findall(r"`\w+`", rows[tag])), tag


@pytest.mark.parametrize(("reason", "words"), WORDS.items(), ids=str)
def test_words(reason, words):
    assert text(reason, NOW) == words


def events(*reasons, platforms=("amd64", "arm64"), adopted=False):
    made = []
    for platform in platforms:
        digest = Digest.of(platform.encode())
        name = f"[linux/{platform} 2/2] COPY . ."
        made.append(VertexEvent(digest=digest, name=name))
        made.append(VertexEvent(digest=digest, name=name, started=NOW))
        made.append(MissEvent(vertex=digest, name=name, place="/2", reasons=reasons, timestamp=NOW))
        if adopted:
            made.append(AdoptionEvent(vertex=digest, name=name, place="/2", timestamp=NOW))
        made.append(VertexEvent(digest=digest, name=name, started=NOW, completed=NOW + 1))
    return made


def shown(display, happened) -> str:
    return strip_escapes(display.update(happened, NOW + 2) + display.finish(NOW + 3))


def plain() -> Plain:
    return Plain()


def tty() -> Tty:
    return Tty(lambda: (100, 30))


@pytest.mark.parametrize("make", [plain, tty])
def test_one_line_below_the_step_and_once_for_all_platforms(make):
    said = shown(make(), events(OpChange("command"), CacheOff(), adopted=True)).splitlines()
    lines = [line for line in said if "not cached" in line]
    assert [line.split("not cached: ")[1].split("  ")[0] for line in lines[:1]] == ["command changed; --no-cache"]
    adopted = [line for line in said if ADOPTED in line]
    if make is plain:
        assert (len(lines), len(adopted)) == (1, 1)
        assert lines[0].startswith("#1 ")
        assert said[said.index(lines[0]) - 1] == "#1 [linux/amd64 2/2] COPY . ."


@pytest.mark.parametrize("make", [plain, tty])
def test_a_first_build_is_no_news(make):
    assert "not cached" not in shown(make(), events(NeverBuilt(whole=True)))
    assert "built for the first time" in shown(make(), events(NeverBuilt()))


def test_rawjson_says_it_in_buildx_words_and_as_values():
    reason = FilesChanged("", 2, 1, (FileChange("f", "content"),))
    (line,) = RawJson().update(events(reason, platforms=("amd64",)), NOW).splitlines()
    document = json.loads(line)
    assert set(document) == {"vertexes", "statuses", "misses"}
    (status,) = document["statuses"]
    assert status["id"] == "not cached: 1 of 2 files changed: f (content)"
    assert status["vertex"] == document["vertexes"][0]["digest"]
    assert status["started"] == status["completed"] == "2023-11-14T22:13:20Z"
    (miss,) = document["misses"]
    assert miss["reasons"] == [
        {
            "type": "files",
            "source": "",
            "total": 2,
            "changed": 1,
            "files": [{"path": "f", "how": "content"}],
            "origin": "",
        }
    ]
