"""What of an instruction is expanded, where it stands, and a look at its syntax before anything is fetched. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from trimaran.dockerfile.instructions import (
    Arg,
    Copy,
    Env,
    Expose,
    Instruction,
    Label,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from trimaran.dockerfile.mounts import parse_mount
from trimaran.dockerfile.parse import Node, Word
from trimaran.dockerfile.words import Expander, ExpansionError, MissingValue
from trimaran.errors import UsageError

if TYPE_CHECKING:
    from trimaran.dockerfile.stage_graph import StageGraph

IN_HEREDOC = Expander(ignore_quotes=True)


def texts(item: Instruction, build_args: Mapping[str, str]) -> Iterable[str]:
    """In BuildKit's order; heredocs are read by other rules (`IN_HEREDOC`) and not among them."""
    if isinstance(item, Copy):
        return (*item.excludes, item.chown, item.chmod, item.checksum, *item.sources, item.destination)
    if isinstance(item, Env | Label):
        return [text for pair in item.pairs for text in (pair.name, pair.value)]
    if isinstance(item, Arg):
        return [one.value for one in item.items if one.value is not None and one.name not in build_args]
    if isinstance(item, Run):
        return [text for word in item.mounts for text in _of_mount(word.text)]
    if isinstance(item, Volume):
        return item.paths
    if isinstance(item, Workdir):
        return (item.path,)
    if isinstance(item, User):
        return (item.user,)
    return (item.signal,) if isinstance(item, StopSignal) else ()


def _of_mount(text: str) -> list[str]:
    found: list[str] = []

    def note(value: str) -> str:
        found.append(value)
        return value

    with suppress(UsageError):  # numbers and the like are checked once variables are filled in
        parse_mount(text, note)
    return found


def check_words(graph: StageGraph) -> None:
    """DockerfileError for a word of a needed stage that no environment could make right."""
    expander = graph.target.expander
    for state in graph.reachable():
        for command in state.commands:
            item = command.instruction
            found = item.ports if isinstance(item, Expose) else texts(item, graph.target.build_args)
            for text in found:
                if "$" in text or "'" in text or '"' in text:
                    _check(expander, text, item.node)


def _check(expander: Expander, text: str, node: Node) -> None:
    try:
        expander.expand(text, {})
    except MissingValue:
        pass  # there may be one when its turn comes
    except ExpansionError as error:
        raise node.error(error.message, word_with(node, text), hint=error.hint) from None


def word_with(node: Node, text: str) -> Word | None:
    """The word of the instruction that holds a text, as exactly as it is known."""
    words = (*node.arguments, *node.flags)
    exact = next((word for word in words if word.text == text), None)
    return exact or next((word for word in words if text in word.text), None)


def wrong_word(node: Node, expander: Expander, env: Mapping[str, str]) -> Word | None:
    """The first word of the instruction that does not expand."""
    for word in (*node.flags, *node.arguments):
        try:
            expander.expand(word.text, env)
        except ExpansionError:
            return word
    return None
