"""Questions about a Dockerfile (reference §3.9): check, outline, targets, graph, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from trimaran.dockerfile.contexts import Loaded, load_dockerfile
from trimaran.dockerfile.convert import built_of, linter
from trimaran.dockerfile.graphs import stage_graphs
from trimaran.dockerfile.lint.linter import Linter
from trimaran.dockerfile.lint.options import CheckOptions
from trimaran.dockerfile.outline import outline_document, outline_text
from trimaran.dockerfile.parse import parse
from trimaran.dockerfile.reports import json_text, lint_document, lint_text, location_document, source_text, table
from trimaran.dockerfile.stages import program
from trimaran.dockerfile.syntax import check_syntax
from trimaran.errors import Cancelled, Location, TrimaranError, Unsupported
from trimaran.graph.frontend import Bridge, FrontendRequest, FrontendResult, GraphInput
from trimaran.spelling import nearest

VERSION = "1.0.0"
Answer = Callable[[FrontendRequest, Loaded, Bridge], Coroutine[Any, Any, FrontendResult]]


async def answer(request: FrontendRequest, bridge: Bridge) -> FrontendResult:
    """Metadata `result.json`, `result.txt`, `version`, and `result.statuscode` of a check. Unsupported if unknown."""
    if request.subrequest == DESCRIBE:
        return _result(json_text(_DESCRIPTIONS), _described())
    asked = _ANSWERS.get(request.subrequest)
    if asked is None:
        known = [name.removeprefix("frontend.") for name in (*_ANSWERS, DESCRIBE)]
        near = nearest(request.subrequest.removeprefix("frontend."), known)
        hint = f"did you mean {near}?" if near else ""
        raise Unsupported(f"unsupported request {request.subrequest}", hint=hint)
    loaded = await load_dockerfile(request, bridge)
    check_syntax(loaded, request.build_args, bridge)
    return await asked(request, loaded, bridge)


def _result(document: bytes, text: str, *more: tuple[str, bytes]) -> FrontendResult:
    metadata = (("result.json", document), ("result.txt", text.encode()), ("version", VERSION.encode()), *more)
    return FrontendResult(built=(), metadata=metadata)


async def _lint(request: FrontendRequest, loaded: Loaded, bridge: Bridge) -> FrontendResult:
    """All stages, unless a target is given. An error is a part of the answer, with what was found before it."""
    checks = Linter(CheckOptions())
    error: tuple[str, Location | None] | None = None
    try:
        checks = linter(loaded, request, None)
        await stage_graphs(request, loaded, bridge, checks, all_stages=not request.target)
    except Cancelled:
        raise
    except TrimaranError as problem:
        near = f" ({problem.hint})" if problem.hint.startswith("did you mean ") else ""
        error = problem.message + near, problem.where
    findings = checks.findings
    document = lint_document(findings, loaded.filename, loaded.data, error)
    status = b"1" if findings else b"0"
    return _result(json_text(document), lint_text(findings), ("result.statuscode", status))


async def _outline(request: FrontendRequest, loaded: Loaded, bridge: Bridge) -> FrontendResult:
    graphs = await stage_graphs(request, loaded, bridge, linter(loaded, request, None))
    document = outline_document(graphs[0], loaded.data)
    return _result(json_text(document), outline_text(document))


async def _targets(_request: FrontendRequest, loaded: Loaded, _bridge: Bridge) -> FrontendResult:
    stages = program(parse(loaded.data, loaded.filename)).stages
    targets: list[dict[str, Any]] = []
    rows = [("TARGET", "DESCRIPTION")]
    for stage in stages:
        head = stage.head
        fields = {
            "name": head.name,
            "default": stage is stages[-1],
            "description": head.comment,
            "base": head.base,
            "platform": head.platform,
        }
        targets.append({key: value for key, value in fields.items() if value})
        targets[-1]["location"] = location_document(head.node.where)
        default = "(default)" if stage is stages[-1] else ""
        rows.append((" ".join(part for part in (head.name, default) if part), head.comment))
    document = {"targets": targets, "sources": [source_text(loaded.data)]}
    return _result(json_text(document), table(rows, 1))


async def _graph(request: FrontendRequest, loaded: Loaded, bridge: Bridge) -> FrontendResult:
    """What a build would do, for people, for Graphviz and for programs; and the graphs themselves."""
    from trimaran.graph.llb import encode_definition
    from trimaran.graph.show import show

    graphs = await stage_graphs(request, loaded, bridge, linter(loaded, request, None))
    built = [built_of(graph) for graph in graphs]
    goals = [(str(one.platform), one.edge) for one in built if one.edge is not None]
    inputs = [
        GraphInput(
            platform=one.platform,
            definition=encode_definition(one.edge) if one.edge is not None else b"",
            base_config=one.config,
        )
        for one in built
    ]
    more = (("result.dot", show(goals, "dot").encode()), ("result.graphs", msgspec.msgpack.encode(inputs)))
    return _result(show(goals, "json").encode(), show(goals, "text"), *more)


LINT, OUTLINE, TARGETS, GRAPH = "frontend.lint", "frontend.outline", "frontend.targets", "frontend.graph"
DESCRIBE = "frontend.subrequests.describe"
_ANSWERS: dict[str, Answer] = {LINT: _lint, OUTLINE: _outline, TARGETS: _targets, GRAPH: _graph}


def _description(name: str, text: str, options: list[dict[str, str]] | None) -> dict[str, Any]:
    results = [{"name": "result.json", "description": ""}, {"name": "result.txt", "description": ""}]
    return {
        "name": name,
        "version": VERSION,
        "type": "rpc",
        "description": text,
        "opts": options,
        "inputs": None,
        "metadata": results,
        "refs": None,
    }


_TARGET_OPTION = [{"name": "target", "description": "Target build stage"}]
# BuildKit does not name its check here, although it answers it.
_DESCRIPTIONS = [
    _description(OUTLINE, "List all parameters current build target supports", _TARGET_OPTION),
    _description(TARGETS, "List all targets current build supports", []),
    _description(DESCRIBE, "List available subrequest types", None),
]


def _described() -> str:
    rows = [(one["name"].removeprefix("frontend."), one["version"], one["description"]) for one in _DESCRIPTIONS]
    return table([("NAME", "VERSION", "DESCRIPTION"), *rows], 1)
