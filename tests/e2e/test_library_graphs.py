"""Graphs written in Python, built by the installed wheel: as real BuildKit builds them, and as Dockerfiles are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import reading
from stage.contexts import Context
from stage.program import Trimaran
from stage.scripts import Scripts

from goldens import graphs
from goldens.graphs.files import changed, of_tar

GOLDEN = Path(graphs.__file__).parent


@pytest.fixture
def scripts(either: Trimaran, context: Context) -> Iterator[Scripts]:
    made = Scripts(either, context.folder)
    yield made
    made.stop()


@pytest.fixture
def rootful(trimaran: Trimaran, context: Context) -> Iterator[Scripts]:
    made = Scripts(trimaran, context.folder)
    yield made
    made.stop()


CASES = """
import sys, threading
import trimaran
from trimaran import graph

namespace = {}
exec(sys.stdin.read(), namespace)
states = [("base", graph.image("alpine", platform="linux/amd64")), *namespace["cases"]("alpine")]
failed = []
def work(part):
    for number, (name, state) in part:
        try:
            output = trimaran.TarOutput(dest=f"{sys.argv[1]}/{number}.tar")
            trimaran.build(state, outputs=output)
        except Exception as error:
            failed.append((name, repr(error)))
numbered = list(enumerate(states))
threads = [threading.Thread(target=work, args=(numbered[n::3],)) for n in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failed, failed
print("\\n".join(name for name, _ in states))
"""


def test_merges_and_diffs_are_those_of_buildkit(scripts: Scripts, either: Trimaran, bases: str) -> None:
    """Files, modes, owners, hard links and deletions, also where the two sides of a diff share no past."""
    expected = json.loads((GOLDEN / "files.json").read_text())
    folder = either.home / "tmp"
    done = scripts.python(
        "-I", "-c", CASES, str(folder), stdin=(GOLDEN / "cases.py").read_text(), cwd=folder, timeout=120
    )
    names = done.stdout.splitlines()
    assert sorted(names) == sorted(["base", *expected])
    found = [of_tar((folder / f"{number}.tar").read_bytes()) for number in range(len(names))]
    for name, files in zip(names[1:], found[1:], strict=True):
        assert changed(files, found[0]) == expected[name], name


PUSHING = """
import json, sys
import trimaran
from trimaran import graph

def app(platform):
    base = graph.image("alpine", platform=platform)
    word = base.run("uname -m > /machine; echo $WORD > /word", env={"WORD": "said"})
    tools = base.run("cat /run/secrets/token > /token", mounts=[graph.secret("token"), graph.cache("/var/cache/x")])
    files = graph.scratch(platform).copy(graph.local("."), "file", "/from/here", owner="7:8", mode=0o640)
    both = graph.merge(base, graph.diff(base, word), graph.diff(base, tools), files)
    return both.run("cat /word /token /from/here > /all").env("A", "1").cmd("cat", "/all").label("made", "in python")

result = trimaran.build(
    app, platforms=["linux/amd64", "linux/arm64"], tags=sys.argv[1], push=True, secrets={"token": b"hidden\\n"}
)
print(json.dumps([sorted(result.digests), [[s.name, s.execution] for s in result.steps if s.execution]]))
"""


@pytest.mark.emulated
def test_branches_of_two_platforms_are_merged_and_pushed(scripts: Scripts, bases: str, context: Context) -> None:
    context.write("file", "here\n")
    name = f"{bases}/library/{os.urandom(3).hex()}"
    platforms, steps = json.loads(scripts(PUSHING, name))
    assert platforms == ["linux/amd64", "linux/arm64"]
    assert sorted({execution for _, execution in steps}) == ["emulated", "native"]
    config = reading.config_of(f"docker://{name}", architecture="arm64")
    assert config["config"]["Cmd"] == ["cat", "/all"]
    assert config["config"]["Labels"] == {"made": "in python"}
    assert [variable.partition("=")[0] for variable in config["config"]["Env"]] == ["PATH", "A"]
    root = reading.unpack(f"docker://{name}", context.folder / "image", architecture="arm64")
    found = reading.facts(root, "all", "machine", "from/here")
    assert found["all"][3] == "said\nhidden\nhere\n"
    assert found["machine"][3] == "aarch64\n"
    assert found["from/here"] == ("-rw-r-----", 7, 8, "here\n")


FROM_DOCKERFILE = """
import asyncio
import trimaran

state = trimaran.from_dockerfile(".", target="final", build_args={"WORD": "said"})
whole = trimaran.build(".", target="final", build_args={"WORD": "said"})
again = trimaran.build(state)
assert again.image_id == whole.image_id, "the same image, to the byte"
assert all(step.cached for step in again.steps if step.name.startswith("[") and "RUN" in step.name), again.steps
print(state, end="")
more = asyncio.run(trimaran.from_dockerfile_async(".", target="final", platform="linux/arm64", build_args={"WORD": "x"}))
print(more.platform, more.cwd, more.environment["WORD"])
further = trimaran.build(state.run("test $WORD = said && test $PWD = /work && test $(id -u) = 7"))
print(len(further.steps) > len(again.steps))
text = "FROM alpine\\nCOPY --from=other file /file\\nRUN cat /file\\n"
trimaran.build(trimaran.from_dockerfile(".", dockerfile=text, build_contexts={"other": "."}))
"""


def test_dockerfile_becomes_a_graph_and_gives_the_same_image(
    rootful: Scripts, trimaran: Trimaran, bases: str, context: Context
) -> None:
    context.dockerfile(
        "FROM alpine AS build\nCOPY file /file\nRUN cat /file > /copied\n"
        "FROM alpine AS final\nARG WORD\nENV WORD=$WORD\nWORKDIR /work\nCOPY --link --from=build /copied .\n"
        'RUN cat copied\nUSER 7\nLABEL a=b\nCMD ["cat", "copied"]\n'
    )
    context.write("file", "here\n")
    *shown, other, further = rootful(FROM_DOCKERFILE).splitlines()
    assert other == "linux/arm64 /work x"
    assert further == "True"
    said = trimaran(
        "build", "--call=graph", "--target=final", "--build-arg=WORD=said", ".", cwd=context.folder
    ).stdout.splitlines()
    assert said == shown
    assert said[-1] == "linux/amd64 is 8"
    assert [line.split()[1] for line in said[:-1]].count("merge") == 1
    line = ("build", "--target=final", "--platform=linux/arm64,linux/amd64", ".")
    dot = trimaran(*line, "--call=graph,format=dot", cwd=context.folder).stdout
    assert dot.startswith("digraph build {\n")
    assert '"linux/arm64" [shape=doubleoctagon];' in dot
    document = json.loads(trimaran(*line, "--call=graph,format=json", cwd=context.folder).stdout)
    assert [goal["name"] for goal in document["goals"]] == ["linux/arm64", "linux/amd64"]
    wrong = trimaran(*line, "--call=graph,format=dto", cwd=context.folder, exit_code=1).stderr
    assert "did you mean dot?" in wrong


FAILING = """
import trimaran
from trimaran import graph

def made(platform):
    return graph.image("alpine", platform=platform).run("echo so && exit 9")

try:
    trimaran.build(made)
except trimaran.StepFailed as error:
    print(error.exit_code, error.tail, error.vertex, error.where)
for wrong in (graph.scratch(), graph.scratch().copy(graph.local("nowhere"), "x", "/")):
    try:
        trimaran.build(wrong)
    except trimaran.TrimaranError as error:
        print(type(error).__name__, error)
"""


def test_errors_of_graphs(rootful: Scripts, bases: str, context: Context) -> None:
    first, *others = rootful(FAILING).splitlines()
    assert first == "9 ('so',) echo so && exit 9 None", "a script of -c has no source to point to"
    assert [other.partition(" ")[0] for other in others] == ["UsageError", "UsageError"]
    assert "nowhere" in others[1]
    (context.folder / "made.py").write_text(FAILING)
    first = rootful("exec(compile(open('made.py').read(), 'made.py', 'exec'))").splitlines()[0]
    assert "Location(filename='made.py'" in first
    assert "Position(line=6," in first


@pytest.mark.emulated
def test_examples_of_the_documentation_run(rootful: Scripts, trimaran: Trimaran, bases: str, context: Context) -> None:
    """Every Python block of docs/python.md, one after another in one program."""
    text = (Path(__file__).parents[2] / "docs/python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("<!-- run -->") >= 8
    context.dockerfile("FROM alpine\nARG WORD=none\nRUN echo $WORD > /word\n")
    context.write("file", "here\n")
    rootful.python.environment["REGISTRY"] = f"{bases}/library"
    said = rootful("\n".join(blocks))
    for word in ("exit code: 7\n7\n('almost',)\nDockerfile 2\n", "done: [2/2] RUN echo hello", "linux/arm64 is "):
        assert word in said
    name = f"docker://{bases}/library/graph"
    assert reading.config_of(name, architecture="arm64")["config"]["Cmd"] == ["cat", "out", "notes"]
    assert trimaran("run", "--platform=linux/arm64", f"{bases}/library/graph").stdout == "HERE\naarch64\n"
