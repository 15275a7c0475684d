"""`FROM --platform`, and bases that are not of the platform they were wanted for."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile.instructions import From
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.state import StageState, Target
from trimaran.dockerfile.words import ExpansionError
from trimaran.errors import UsageError
from trimaran.platforms import Platform

REDUNDANT_TARGET_PLATFORM = Rule(
    name="RedundantTargetPlatform",
    description="Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    message="Setting platform to predefined {text} in FROM is redundant as this is the default behavior",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    name="FromPlatformFlagConstDisallowed",
    description="FROM --platform flag should not use a constant value",
    message='FROM --platform flag should not use constant value "{platform}"',
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    name="InvalidBaseImagePlatform",
    description="Base image platform does not match expected target platform",
    message='Base image {image} was pulled with platform "{actual}", expected "{expected}" for current build',
    documented=False,
)
_TARGET = "TARGETPLATFORM"


def platform_flag(head: From, target: Target) -> Iterator[Finding]:
    """A constant is fine for a stage that has it in its name: it says that it is for that platform alone."""
    if not head.platform:
        return
    try:
        found = target.expander.expand(head.platform, target.arguments)
    except ExpansionError:
        return
    if found.matched == {_TARGET} and not found.unmatched and found.value == target.arguments[_TARGET]:
        yield REDUNDANT_TARGET_PLATFORM.found(head.node, text=head.platform)
    if found.matched or found.unmatched:
        return
    try:
        platform = Platform.parse(found.value)
    except UsageError:
        return  # the conversion says so
    if platform.os not in head.name and platform.architecture not in head.name:
        yield FROM_PLATFORM_FLAG_CONST_DISALLOWED.found(head.node, platform=found.value)


def invalid_base_image_platform(state: StageState, expected: Platform) -> Iterator[Finding]:
    """Once the image is known."""
    actual = Platform(state.image.os, state.image.architecture, state.image.variant)
    if (expected.os, expected.architecture) != (actual.os, actual.architecture):
        yield INVALID_BASE_IMAGE_PLATFORM.found(
            state.node,
            image=state.base_name,
            expected=expected.normalize().format_all(),
            actual=actual.normalize().format_all(),
        )
