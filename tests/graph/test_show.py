"""Graphs for people, for Graphviz and for programs."""

from __future__ import annotations

import json
import shutil
import subprocess

from trimaran.graph.mounts import bind
from trimaran.graph.show import show
from trimaran.graph.state import State, diff, image, local, merge, scratch
from trimaran.platforms import Platform

TEXT = """\
1  source  docker-image://docker.io/library/alpine:latest
2  source  local://src
3  exec    make  <- 1, 2
4  diff    diff  <- 1, 3
5  file    mkfile /x
6  merge   merge  <- 1, 4, 5
linux/arm64 is 6
"""


def made() -> State:
    base = image("alpine", platform="linux/arm64")
    built = base.run("make", mounts=[bind(local("src"), "/src")])
    return merge(base, diff(base, built), scratch("linux/arm64").mkfile("/x"))


def test_text() -> None:
    assert str(made()) == made().show() == TEXT
    assert str(scratch()) == ""


def test_nothing_reaches_the_terminal_as_it_is() -> None:
    assert "\x1b" not in image("alpine").run("echo \x1b[31m").show()
    assert len(image("alpine").run("a\nb").show().splitlines()) == 3


def test_json() -> None:
    document = json.loads(made().show("json"))
    assert [vertex["kind"] for vertex in document["vertices"]] == ["source", "source", "exec", "diff", "file", "merge"]
    (goal,) = document["goals"]
    assert goal == {"name": "linux/arm64", "vertex": document["vertices"][-1]["digest"], "index": 0}
    exec_ = document["vertices"][2]
    assert [each["vertex"] for each in exec_["inputs"]] == [document["vertices"][n]["digest"] for n in (0, 1)]
    assert exec_["op"]["meta"]["args"] == ["/bin/sh", "-c", "make"]
    assert (exec_["platform"], exec_["location"]["filename"]) == ("linux/arm64", __file__)


def test_dot_is_what_graphviz_reads() -> None:
    text = image("alpine").run('echo "a\\n"').show("dot")
    assert '  2 [label="echo \\"a\\\\n\\"", shape=box];' in text
    assert "  1 -> 2;" in text
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=text, text=True, capture_output=True, check=True)


def test_what_goals_share_is_shown_once() -> None:
    shared = local("src")
    goals = [
        (name, scratch(Platform.parse(name)).copy(shared, "a", "/").edge) for name in ("linux/amd64", "linux/arm64")
    ]
    lines = show([(name, edge) for name, edge in goals if edge is not None], "text").splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["source", "file", "file"]
    assert lines[3:] == ["linux/amd64 is 2", "linux/arm64 is 3"]


def test_deep_graphs_are_no_harder() -> None:
    state = image("alpine")
    for number in range(5_000):
        state = state.mkfile(f"/{number}")
    assert len(state.show().splitlines()) == 5_002
    assert state.show("dot").count("->") == 5_001
