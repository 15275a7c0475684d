"""What the image runs: commands without a shell in between, and only one of each kind."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile.instructions import Cmd, Entrypoint, Healthcheck
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.state import StageState, Target

JSON_ARGS_RECOMMENDED = Rule(
    name="JSONArgsRecommended",
    description="JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    message="JSON arguments recommended for {name} to prevent unintended behavior related to OS signals",
)
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    name="MultipleInstructionsDisallowed",
    description="Multiple instructions of the same type should not be used in the same stage",
    message="Multiple {name} instructions should not be used in the same stage because only the last one will be used",
)


def multiple_instructions(
    item: Cmd | Entrypoint | Healthcheck, state: StageState, _target: Target
) -> Iterator[Finding]:
    """Placed at the earlier one, which has no effect."""
    earlier = state.latest.get(type(item))
    if earlier is not None:
        yield MULTIPLE_INSTRUCTIONS_DISALLOWED.found(earlier.node, name=item.node.name)


def json_args_recommended(item: Cmd | Entrypoint, state: StageState, _target: Target) -> Iterator[Finding]:
    """Whoever sets a SHELL wants it."""
    if item.in_shell and not state.image.run.shell:
        yield JSON_ARGS_RECOMMENDED.found(item.node, name=item.node.name)
