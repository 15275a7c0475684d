"""`dockerfile parse`: the instructions of a Dockerfile with their exact places, for editors and tests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from trimaran.cli.invocation import Invocation
from trimaran.cli.options import Command, Example, Flag, Values
from trimaran.errors import UsageError

if TYPE_CHECKING:
    from trimaran.dockerfile.parse import Document, Node, Word
    from trimaran.errors import Range

FORMATS = ("text", "json")
COMMAND = Command(
    name="dockerfile parse",
    summary="Show the instructions of a Dockerfile and where they stand",
    usage="dockerfile parse [OPTIONS] FILE | -",
    description=(
        "Read a Dockerfile as a build does and print its directives and instructions: flags, arguments, heredocs, "
        "comments, each with its place. Lines count from 1, columns from 0. Variables stay as they are written."
    ),
    flags=(Flag(name="format", help='Format of the output ("text", "json")', default="text", choices=FORMATS),),
    arguments=(1, 1),
    completes="file",
    examples=(Example("For an editor:", "dockerfile parse --format json Dockerfile"),),
)


def run(values: Values, invocation: Invocation) -> int:
    from trimaran.dockerfile.parse import parse
    from trimaran.dockerfile.stages import program

    form = values.text("format")
    if form not in FORMATS:
        raise UsageError(f'read --format "{form}": no such format', hint="text or json")
    name = values.arguments[0]
    document = parse(_read(name), "Dockerfile" if name == "-" else name)
    program(document)  # what cannot be built is an error here too
    invocation.out(as_json(document) if form == "json" else as_text(document))
    return 0


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"read {name}: {(error.strerror or str(error)).lower()}") from None


def as_json(document: Document) -> str:
    import msgspec

    lines = document.source.decode("utf-8", "surrogateescape").split("\n")
    fields = {
        "filename": document.filename,
        "escape": document.escape,
        "directives": [
            {"name": one.name, "value": one.value, "line": one.range.start.line} for one in document.directives
        ],
        "instructions": [_instruction(node, lines) for node in document.nodes],
    }
    return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode() + "\n"


def _instruction(node: Node, lines: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": node.name,
        "range": {"start": {"line": node.line.start, "column": 0}, "end": _end(node, lines)},
        "flags": [_word(node, word) for word in node.flags],
        "arguments": [_word(node, word) for word in node.arguments],
        "json": node.is_json,
        "heredocs": [
            {
                "name": doc.name,
                "content": _text(doc.content),
                "expand": doc.expand,
                "chomp": doc.chomp,
                "lines": [doc.range.start.line, doc.range.end.line],
            }
            for doc in node.heredocs
        ],
        "comments": [_text(comment) for comment in node.comments],
    }
    if node.child is not None:
        fields["trigger"] = _instruction(node.child, lines)
    return fields


def _end(node: Node, lines: list[str]) -> dict[str, int]:
    return {"line": node.end, "column": len(lines[node.end - 1].rstrip("\r")) if node.end <= len(lines) else 0}


def _word(node: Node, word: Word) -> dict[str, Any]:
    return {"text": _text(word.text), "range": _range(node.line.range(word.start, word.end))}


def _range(place: Range) -> dict[str, dict[str, int]]:
    return {
        "start": {"line": place.start.line, "column": place.start.character},
        "end": {"line": place.end.line, "column": place.end.character},
    }


def _text(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def as_text(document: Document) -> str:
    """One line per instruction: its lines, name, flags and arguments, these quoted so that they can be told apart."""
    out = [f"{one.range.start.line:>9}  # {one.name}={one.value}\n" for one in document.directives]
    for node in document.nodes:
        lines = f"{node.line.start}-{node.end}" if node.end > node.line.start else str(node.line.start)
        words = [_text(word.text) for word in node.flags]
        inner = node
        while inner.child is not None:
            inner = inner.child
            words += [inner.keyword, *(_text(word.text) for word in inner.flags)]
        words += [_quoted(word.text) for word in inner.arguments]
        out.append(f"{lines:>9}  {' '.join([node.keyword, *words])}\n")
        for doc in node.heredocs:
            size = len(doc.content.encode("utf-8", "surrogateescape"))
            out.append(f"{'':>9}    <<{doc.name}: lines {doc.range.start.line}-{doc.range.end.line}, {size} bytes\n")
    return "".join(out)


def _quoted(text: str) -> str:
    from trimaran.dockerfile.gotext import quote

    return quote(text)
