"""Instructions to stages: what each FROM begins, and the ARGs before the first."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from trimaran.dockerfile.instructions import Arg, From, Instruction
from trimaran.dockerfile.parse import Document, Node
from trimaran.dockerfile.reading import instruction


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    head: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """Lower-case; "" when FROM gives none."""
        return self.head.name


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A whole Dockerfile: `arguments` are the ARGs that stand before the first FROM."""

    document: Document
    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]


def program(document: Document, seen: Callable[[Node], None] = lambda _: None) -> Program:
    """All instructions read, at the first wrong one DockerfileError; `seen` is told of each before."""
    arguments: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    for node in document.nodes:
        seen(node)
        item = instruction(node)
        if isinstance(item, From):
            stages.append((item, []))
        elif stages:
            stages[-1][1].append(item)
        elif isinstance(item, Arg):
            arguments.append(item)
        else:
            raise node.error(
                "no build stage in current context", hint="begin with FROM; only ARG may stand before the first FROM"
            )
    if not stages:
        last = document.nodes[-1]
        raise last.error("dockerfile contains no stages to build", hint="add FROM")
    return Program(
        document=document,
        arguments=tuple(arguments),
        stages=tuple(Stage(head=head, instructions=tuple(items)) for head, items in stages),
    )
