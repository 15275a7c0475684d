"""Where a conversion asks the checks: one function per moment, nothing done when all is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimaran.dockerfile.instructions import From, Instruction
from trimaran.dockerfile.lint import table
from trimaran.dockerfile.lint.linter import Linter
from trimaran.dockerfile.lint.platforms import invalid_base_image_platform
from trimaran.dockerfile.parse import Document, Node
from trimaran.dockerfile.stages import Program
from trimaran.dockerfile.state import StageState, Target
from trimaran.platforms import Platform

if TYPE_CHECKING:
    from trimaran.dockerfile.stage_graph import StageGraph


def check_document(linter: Linter, document: Document) -> None:
    for check in table.DOCUMENT:
        linter.take(check(document))


def check_node(linter: Linter, node: Node) -> None:
    for check in table.NODE:
        linter.take(check(node))


def check_program(linter: Linter, program: Program) -> None:
    for check in table.PROGRAM:
        linter.take(check(program))


def check_defaults(program: Program, target: Target) -> None:
    for check in table.DEFAULTS:
        target.linter.take(check(program, target))


def check_head(head: From, target: Target) -> None:
    for check in table.HEAD:
        target.linter.take(check(head, target))


def check_base(state: StageState, target: Target, platform: Platform) -> None:
    target.linter.take(invalid_base_image_platform(state, platform))


def check_instruction(item: Instruction, state: StageState, target: Target) -> None:
    for check in table.INSTRUCTION.get(type(item), ()):
        target.linter.take(check(item, state, target))


def check_context(graph: StageGraph, folders: list[str], read: set[str]) -> None:
    from trimaran.dockerfile.lint.unread import unread_context_folders

    graph.target.linter.take(unread_context_folders(graph.program, folders, read))


def check_graph(graph: StageGraph) -> None:
    """Our own rules, which are loaded only where some are asked for."""
    linter = graph.target.linter
    if not linter.options.experimental:
        return
    from trimaran.dockerfile.lint import emulation, layers

    for check in (
        emulation.needless_emulation,
        emulation.base_of_one_architecture,
        layers.copy_before_install,
        layers.package_cache_in_layer,
    ):
        linter.take(check(graph))
