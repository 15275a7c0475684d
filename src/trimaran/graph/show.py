"""A graph as text for people, as DOT for Graphviz, as JSON for programs. Pure, and iterative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trimaran.digest import Digest
from trimaran.graph.llb import in_order
from trimaran.graph.ops import DiffOp, ExecOp, FileOp, MergeOp, Op, SourceOp
from trimaran.graph.vertex import Edge, Vertex

Goals = Sequence[tuple[str, Edge]]
"""What is built, by its name: a platform."""
_KINDS: dict[type[Op], str] = {SourceOp: "source", ExecOp: "exec", FileOp: "file", MergeOp: "merge", DiffOp: "diff"}
_SHAPES = {"source": "ellipse", "exec": "box", "file": "note", "merge": "invtriangle", "diff": "triangle"}


def show(goals: Goals, form: str) -> str:
    """`goals` share what they can; every vertex comes after those it reads."""
    numbers, vertices = _numbered(goals)
    if form == "json":
        return _json(goals, vertices) + "\n"
    return _dot(goals, vertices, numbers) if form == "dot" else _text(goals, vertices, numbers)


def _numbered(goals: Goals) -> tuple[dict[Digest, int], list[Vertex]]:
    found: dict[Digest, Vertex] = {}
    for _, edge in goals:
        for vertex in in_order(edge):
            found.setdefault(vertex.digest, vertex)
    return {digest: number for number, digest in enumerate(found, 1)}, list(found.values())


def _text(goals: Goals, vertices: list[Vertex], numbers: dict[Digest, int]) -> str:
    """A line for each vertex: its number, kind and name, and the numbers of what it reads."""
    width = len(str(len(vertices)))
    lines = []
    for vertex in vertices:
        reads = ", ".join(_number(edge, numbers) for edge in vertex.inputs)
        shown = f"{numbers[vertex.digest]:>{width}}  {_KINDS[type(vertex.op)]:<6}  {_name(vertex)}"
        lines.append(f"{shown}  <- {reads}" if reads else shown)
    lines += [f"{name} is {_number(edge, numbers)}" for name, edge in goals]
    return "".join(f"{line}\n" for line in lines)


def _number(edge: Edge, numbers: dict[Digest, int]) -> str:
    number = str(numbers[edge.vertex.digest])
    return number if not edge.index else f"{number}.{edge.index}"


def _name(vertex: Vertex) -> str:
    """On one line, and with nothing that a terminal would act on."""
    return "".join(c if c.isprintable() else " " for c in vertex.hints.name) or str(vertex.digest)


def _dot(goals: Goals, vertices: list[Vertex], numbers: dict[Digest, int]) -> str:
    lines = ["digraph build {", "  rankdir=LR;"]
    for vertex in vertices:
        shape = _SHAPES[_KINDS[type(vertex.op)]]
        lines.append(f"  {numbers[vertex.digest]} [label={_quoted(_name(vertex))}, shape={shape}];")
    for vertex in vertices:
        number = numbers[vertex.digest]
        lines += [f"  {numbers[edge.vertex.digest]} -> {number};" for edge in dict.fromkeys(vertex.inputs)]
    for name, edge in goals:
        lines.append(f"  {_quoted(name)} [shape=doubleoctagon];")
        lines.append(f"  {numbers[edge.vertex.digest]} -> {_quoted(name)};")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json(goals: Goals, vertices: list[Vertex]) -> str:
    document = {
        "goals": [{"name": name, **_edge(edge)} for name, edge in goals],
        "vertices": [_document(vertex) for vertex in vertices],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _edge(edge: Edge) -> dict[str, Any]:
    return {"vertex": str(edge.vertex.digest), "index": edge.index}


def _document(vertex: Vertex) -> dict[str, Any]:
    where = vertex.hints.where
    fields: dict[str, Any] = {
        "digest": str(vertex.digest),
        "kind": _KINDS[type(vertex.op)],
        "name": _name(vertex),
        "platform": str(vertex.constraints.platform) if vertex.constraints.platform else "",
        "inputs": [_edge(edge) for edge in vertex.inputs],
        "op": msgspec.to_builtins(vertex.op),
    }
    if where is not None and where.ranges:
        lines = [where.ranges[0].start.line, where.ranges[-1].end.line]
        fields["location"] = {"filename": where.filename, "lines": lines}
    return fields
