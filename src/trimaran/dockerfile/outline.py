"""What a target can be given: build arguments, secrets and ssh agents, over all stages that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from trimaran.dockerfile.instructions import Arg, ArgItem, Run
from trimaran.dockerfile.mounts import RunMount, parse_mount
from trimaran.dockerfile.parse import Node
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.reports import location_document, source_text, table
from trimaran.dockerfile.stage_graph import StageGraph
from trimaran.dockerfile.state import StageState
from trimaran.dockerfile.words import ExpansionError


class _Argument(msgspec.Struct, frozen=True):
    item: ArgItem
    value: str
    node: Node
    needs: frozenset[str] = frozenset()
    """Other arguments that its default names."""


def outline_document(graph: StageGraph, data: bytes) -> dict[str, Any]:
    stage = graph.goal.stage
    head = stage.head if stage is not None else None
    states = list(_states(graph.goal))
    fields = {
        "name": head.name if head else "",
        "description": head.comment if head else "",
        "args": [_argument_fields(argument) for argument in _arguments(graph, states)],
        "secrets": _named(_mounts(states, "secret")),
        "ssh": _named(_mounts(states, "ssh")),
        "sources": [source_text(data)],
    }
    return {key: value for key, value in fields.items() if value}


def outline_text(document: dict[str, Any]) -> str:
    out: list[str] = []
    if "name" in document or "description" in document:
        rows = [("TARGET:", document.get("name", "(default)"))]
        if "description" in document:
            rows.append(("DESCRIPTION:", document["description"]))
        out.append(table(rows, 1))
    if "args" in document:
        cells = [(one["name"], one.get("value", ""), one.get("description", "")) for one in document["args"]]
        out.append(table([("BUILD ARG", "VALUE", "DESCRIPTION"), *cells], 3))
    for key, title in (("secrets", "SECRET"), ("ssh", "SSH")):
        if key in document:
            named = [(one["name"], "true" if one.get("required") else "") for one in document[key]]
            out.append(table([(title, "REQUIRED"), *named], 3))
    return "".join(part + "\n" for part in out)


def _states(goal: StageState) -> Iterator[StageState]:
    """The goal, what it is built on, what it reads: each once."""
    seen: set[int] = set()
    todo = [goal]
    while todo:
        state = todo.pop()
        if id(state) in seen:
            continue
        seen.add(id(state))
        yield state
        todo += [*reversed(state.sources), *([state.base] if state.base is not None else [])]


def _arguments(graph: StageGraph, states: list[StageState]) -> list[_Argument]:
    """Those used, in the order of the file; the stage that is nearest to the goal says what an argument is."""
    before = _global(graph)
    found: dict[str, _Argument] = {}
    for state in states:
        own = {**before, **_own(graph, state)}
        used = [*_in_head(graph, state), *(item.name for item in state.args)]
        while used:
            argument = own.get(used.pop(0))
            if argument is not None and argument.item.name not in found:
                found[argument.item.name] = argument
                used += sorted(argument.needs)
    return sorted(found.values(), key=lambda argument: argument.node.line.start)


def _global(graph: StageGraph) -> dict[str, _Argument]:
    target = graph.target
    found: dict[str, _Argument] = {}
    for arg in graph.program.arguments:
        for item in arg.items:
            needs = frozenset[str]()
            if item.value is not None and item.name not in target.build_args:
                expanded = target.expander.expand(item.value, target.arguments)
                needs = expanded.matched - {item.name}
            earlier = found.get(item.name)
            if earlier is not None and item.value is not None and item.name in item.value:
                needs |= earlier.needs
            found[item.name] = _Argument(item, target.arguments.get(item.name, ""), arg.node, needs)
    return found


def _own(graph: StageGraph, state: StageState) -> dict[str, _Argument]:
    """The stage's declarations, but those that only let a global argument in."""
    target = graph.target
    values = {item.name: item.value for item in state.args}
    found: dict[str, _Argument] = {}
    for command in state.commands:
        if isinstance(command.instruction, Arg):
            for item in command.instruction.items:
                inherited = item.value is None and item.name not in target.build_args
                if not inherited or item.name not in target.arguments:
                    found[item.name] = _Argument(item, values.get(item.name) or "", command.instruction.node)
    return found


def _in_head(graph: StageGraph, state: StageState) -> list[str]:
    if state.stage is None:
        return []
    names: set[str] = set()
    for text in (state.stage.head.base, state.stage.head.platform):
        try:
            names |= graph.target.expander.expand(text, graph.target.arguments).matched
        except ExpansionError:
            continue
    return sorted(names)


def _argument_fields(argument: _Argument) -> dict[str, Any]:
    fields = {"name": argument.item.name, "description": argument.item.comment, "value": argument.value}
    document: dict[str, Any] = {key: value for key, value in fields.items() if value}
    return {**document, "location": location_document(argument.node.where)}


def _mounts(states: list[StageState], kind: str) -> dict[str, tuple[bool, Node]]:
    """By id; the first mount says whether it is required."""
    found: dict[str, tuple[bool, Node]] = {}
    for state in states:
        for command in state.commands:
            item = command.instruction
            for mount in _of(item) if isinstance(item, Run) else ():
                name = mount.id or mount.source or mount.target.rpartition("/")[2]
                name = (mount.id or mount.source or "default") if kind == "ssh" else name
                if mount.type == kind and name not in found:
                    found[name] = mount.required, item.node
    return dict(sorted(found.items(), key=lambda pair: pair[1][1].line.start))


def _of(item: Run) -> Iterator[RunMount]:
    for word in item.mounts:
        try:
            yield parse_mount(word.text, lambda text: text)
        except DockerfileError:
            continue


def _named(found: dict[str, tuple[bool, Node]]) -> list[dict[str, Any]]:
    documents = []
    for name, (required, node) in found.items():
        document: dict[str, Any] = {"name": name, "required": True} if required else {"name": name}
        documents.append({**document, "location": location_document(node.where)})
    return documents
