"""Capitals: of stage names, of FROM … AS, of instructions among each other."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.parse import Node
from trimaran.dockerfile.stages import Program

STAGE_NAME_CASING = Rule(
    name="StageNameCasing",
    description="Stage names should be lowercase",
    message="Stage name '{name}' should be lowercase",
)
FROM_AS_CASING = Rule(
    name="FromAsCasing",
    description="The 'as' keyword should match the case of the 'from' keyword",
    message="'{word}' and '{keyword}' keywords' casing do not match",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    name="ConsistentInstructionCasing",
    description="All commands within the Dockerfile should use the same casing (either upper or lower)",
    message="Command '{name}' should match the case of the command majority ({majority})",
)


def stage_name_casing(node: Node) -> Iterator[Finding]:
    if node.keyword == "FROM" and len(node.arguments) == 3 and not _is_lower(node.arguments[2].text):
        yield STAGE_NAME_CASING.found(node, name=node.arguments[2].text)


def from_as_casing(node: Node) -> Iterator[Finding]:
    """A FROM in mixed case is told of by the rule on instructions."""
    if node.keyword != "FROM" or len(node.arguments) < 3:
        return
    word = node.arguments[1].text
    matches = (_is_lower(word) or not _is_lower(node.name)) and (_is_upper(word) or not _is_upper(node.name))
    if not matches:
        yield FROM_AS_CASING.found(node, word=word, keyword=node.name)


def consistent_instruction_casing(program: Program) -> Iterator[Finding]:
    """ARGs before the first FROM do not count."""
    nodes = [node for node in program.document.nodes if node.line.start >= program.stages[0].head.node.line.start]
    lower = sum(_is_lower(node.name) for node in nodes)
    upper = sum(_is_upper(node.name) and not _is_lower(node.name) for node in nodes)
    fits, majority = (_is_lower, "lowercase") if lower > upper else (_is_upper, "uppercase")
    for node in nodes:
        if not fits(node.name):
            yield CONSISTENT_INSTRUCTION_CASING.found(node, name=node.name, majority=majority)


def _is_lower(text: str) -> bool:
    return text == text.lower()


def _is_upper(text: str) -> bool:
    return text == text.upper()
