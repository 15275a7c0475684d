"""The field's own parser tables, where they lie beside the repository (TRIMARAN_CASES or ../shared/cases)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trimaran.dockerfile.exec_form import parse_json
from trimaran.dockerfile.heredocs import marks_in, parse_mark, without_tabs
from trimaran.dockerfile.lines import Fragment, LineReader, LogicalLine, find_directive
from trimaran.dockerfile.parse import Node, Word, parse, split_words
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.reading import instruction
from trimaran.dockerfile.stages import program
from trimaran.dockerfile.words import ExpansionError
from trimaran.errors import TrimaranError

ROOT = Path(os.environ.get("TRIMARAN_CASES") or Path(__file__).parents[3] / "shared" / "cases")


def load(name):
    path = ROOT / name
    return json.loads(path.read_text())["cases"] if path.exists() else []


CASES = load("parser.json")


def of(*kinds):
    chosen = [case for case in CASES if case["kind"] in kinds]
    return [pytest.param(case, id=case["id"]) for case in chosen] or [pytest.param(None, id="absent")]


def quote(text):
    """Go's strconv.Quote, as far as these cases need it."""
    out = []
    for character in text:
        if character in '"\\':
            out.append("\\" + character)
        elif character in "\a\b\f\n\r\t\v":
            out.append(
                {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}[character]
            )
        elif ord(character) < 32 or ord(character) == 127:
            out.append(f"\\x{ord(character):02x}")
        else:
            out.append(character)
    return '"' + "".join(out) + '"'


def dump(node):
    parts = [node.name.lower()]
    if node.flags:
        parts.append("[" + " ".join(quote(flag.text) for flag in node.flags) + "]")
    if node.child is not None:
        parts.append(dump(node.child))
    if node.keyword in ("ENV", "LABEL"):
        for name, value in zip(node.arguments[::2], node.arguments[1::2], strict=True):
            parts += [quote(name.text), quote(value.text), '""' if node.legacy_pair else '"="']
    else:
        parts += [quote(word.text) for word in node.arguments]
    return "(" + " ".join(parts) + ")"


@pytest.mark.parametrize("case", of("ast"))
def test_ast(case):
    if case is None:
        return
    document = parse(case["dockerfile"].encode())
    assert "".join(dump(node) + "\n" for node in document.nodes) == case["expect"]["dump"]


@pytest.mark.parametrize("case", of("parse_error"))
def test_parse_error(case):
    if case is None:
        return
    with pytest.raises(DockerfileError):
        parse(case["dockerfile"].encode())


@pytest.mark.parametrize("case", of("lines"))
def test_lines(case):
    if case is None:
        return
    nodes = parse(case["dockerfile"].encode()).nodes
    assert [[node.line.start, node.end] for node in nodes] == case["expect"]["children"]


@pytest.mark.parametrize("case", of("directives"))
def test_directives(case):
    if case is None:
        return
    found = LineReader(case["dockerfile"].encode()).directives
    expect = case["expect"]["equal"]
    assert len(found) == expect["result.len()"]
    assert (found[0].name, found[0].value) == (expect["result.0.Name"], expect["result.0.Value"])


@pytest.mark.parametrize("case", of("syntax", "directive"))
def test_directive(case):
    if case is None:
        return
    found = find_directive(case["dockerfile"].encode(), case.get("name", "syntax"))
    expect = case["expect"]
    assert (found is not None) == expect["ok"]
    if found is not None:
        assert found.value.split()[0] == expect["value"]
        assert found.value == expect.get("cmdline", found.value)
        assert found.range.start.line == expect.get("location.0.Start.Line", found.range.start.line)


@pytest.mark.parametrize("case", of("nameval"))
def test_name_value(case):
    if case is None:
        return
    text = f"{case['key']} {case['input']}\n".encode()
    if case["expect"].get("error"):
        with pytest.raises(DockerfileError):
            parse(text)
        return
    node, chain, values = parse(text).nodes[0], case["expect"]["equal"]["result"], []
    while chain:
        values.append(chain["Value"])
        chain = chain.get("Next")
    ours = []
    for name, value in zip(node.arguments[::2], node.arguments[1::2], strict=True):
        ours += [name.text, value.text, "" if node.legacy_pair else "="]
    assert ours == values


@pytest.mark.parametrize("case", of("parse"))
def test_parse(case):
    if case is None:
        return
    expect = case["expect"]
    if isinstance(expect["error"], dict):
        with pytest.raises(DockerfileError) as caught:
            parse(case["dockerfile"].encode())
        assert caught.value.cause == expect["error"]["equals"]
        return
    nodes = parse(case["dockerfile"].encode()).nodes
    for key, value in expect["equal"].items():
        if not key.endswith("Heredocs"):
            assert key == "result.Warnings.len()"
            assert sum(node.line.empty_continuation for node in nodes) == value
            continue
        ours = [
            {"Name": doc.name, "Content": doc.content, "Expand": doc.expand}
            | ({"Chomp": True} if doc.chomp else {})
            | ({"FileDescriptor": doc.file_descriptor} if doc.file_descriptor else {})
            for doc in nodes[int(key.split(".")[3])].heredocs
        ]
        assert ours == (value or []), key


@pytest.mark.parametrize("case", of("chomp"))
def test_chomp(case):
    if case is None:
        return
    assert without_tabs(case["input"]) == case["expect"]["equal"]["result"]


@pytest.mark.parametrize("case", of("heredoc_word"))
def test_heredoc_word(case):
    if case is None:
        return
    if case["expect"].get("error"):
        with pytest.raises(ExpansionError):
            parse_mark(case["input"])
        return
    mark, expect = parse_mark(case["input"]), case["expect"]["heredoc"]
    assert (mark.name if mark else None) == (expect["Name"] if expect else None)


@pytest.mark.parametrize("case", of("heredoc_line"))
def test_heredoc_line(case):
    if case is None:
        return
    assert [mark.name for mark in marks_in(case["input"])] == case["expect"]["names"]


@pytest.mark.parametrize("case", of("words"))
def test_words(case):
    if case is None:
        return
    text = case["input"]
    assert [word.text for word in split_words(text, 0, len(text), "\\")] == case["expect"]["words"]


@pytest.mark.parametrize("case", of("json_array"))
def test_json(case):
    if case is None:
        return
    items = parse_json(case["input"])
    if "value" in case["expect"]:
        assert items == case["expect"]["value"]
    else:
        assert items is not None
        with pytest.raises(TrimaranError, match="strings only"):
            parse(b"CMD " + case["input"].encode())


def instruction_of(case):
    if "dockerfile" in case:
        return instruction(parse(case["dockerfile"].encode()).nodes[int(case["child"])])
    node, words = case["node"], []
    chain = node.get("Next")
    while chain:
        words.append(Word(chain["Value"], 0, 0))
        chain = chain.get("Next")
    if node["Value"] in ("env", "label"):  # every third is the delimiter in their form
        words = [word for index, word in enumerate(words) if index % 3 != 2 or len(words) == 4]
        words = words[: 3 if len(words) == 4 else None]
    line = LogicalLine(text=node.get("Original", ""), fragments=(Fragment(0, 1, 0),), start=1, end=1)
    return instruction(
        Node(name=node["Value"], line=line, filename="Dockerfile", source=b"", arguments=tuple(words), end=1)
    )


@pytest.mark.parametrize("case", of("instruction"))
def test_instruction(case):
    if case is None:
        return
    expect = case["expect"]
    if expect["error"]:
        with pytest.raises(DockerfileError) as caught:
            instruction_of(case)
        if "equals" in expect["error"]:
            assert caught.value.cause == expect["error"]["equals"]
        else:
            assert expect["error"]["contains"].lower() in caught.value.cause.lower()
        return
    ours = instruction_of(case)
    for key, value in expect.get("equal", {}).items():
        if key == "result.SourcesAndDest":
            assert ours.destination == value["DestPath"]
            assert list(ours.sources) == value.get("SourcePaths", [])
            files = [{"Path": f.name, "Data": f.content, "Expand": f.expand} for f in ours.files]
            assert files == value.get("SourceContents", [])
        elif key == "result.PrependShell":
            assert ours.in_shell == value
        elif key == "result.CmdLine":
            assert list(ours.arguments) == value
        elif key == "result.Files":
            files = [
                {"Name": doc.name, "Data": doc.content} | ({"Chomp": True} if doc.chomp else {})
                for doc in ours.node.heredocs
            ]
            assert files == value
        elif key == "result.FlagsUsed":
            assert [flag.text[2:].partition("=")[0] for flag in ours.node.flags] == value
        elif key == "result.Health.Test":
            assert case["node"]["Next"]["Value"] == ours.test[0].removesuffix("-SHELL")
        else:
            assert key == "result.#1", key


@pytest.mark.parametrize("case", of("stages"))
def test_stages(case):
    if case is None:
        return
    ours, equal = program(parse(case["dockerfile"].encode())), case["expect"]["equal"]
    items = [ours.arguments[0].items[0], *ours.stages[0].instructions[0].items, *ours.stages[0].instructions[1].items]
    assert ours.stages[0].head.comment == equal["r0.0.DocComment"]
    assert [item.comment for item in items] == ["sets foo", "", "defines bar", "is something else"]
