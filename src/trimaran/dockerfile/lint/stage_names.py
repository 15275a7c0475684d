"""Names of stages that hide another stage, or what has that name already."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.stages import Program

DUPLICATE_STAGE_NAME = Rule(
    name="DuplicateStageName",
    description="Stage names should be unique",
    message='Duplicate stage name "{name}", stage names should be unique',
)
RESERVED_STAGE_NAME = Rule(
    name="ReservedStageName",
    description="Reserved words should not be used as stage names",
    message='Stage name should not use the same name as reserved stage "{name}"',
)
RESERVED = ("context", "scratch")


def stage_names(program: Program) -> Iterator[Finding]:
    seen: set[str] = set()
    for stage in program.stages:
        if stage.name in RESERVED:
            yield RESERVED_STAGE_NAME.found(stage.head.node, name=stage.name)
        if stage.name in seen:
            yield DUPLICATE_STAGE_NAME.found(stage.head.node, name=stage.name)
        if stage.name:
            seen.add(stage.name)
