"""Which check looks at what, in BuildKit's order; and all rules by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trimaran.dockerfile.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from trimaran.dockerfile.lint import (
    casing,
    commands,
    deprecated,
    descriptions,
    ignored,
    platforms,
    ports,
    secrets,
    stage_names,
    variables,
    workdir,
)
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.parse import Document, Node
from trimaran.dockerfile.stages import Program
from trimaran.dockerfile.state import StageState, Target

Found = Iterable[Finding]

DOCUMENT: tuple[Callable[[Document], Found], ...] = (deprecated.no_empty_continuation,)
"""Asked once the file is cut into instructions."""
NODE: tuple[Callable[[Node], Found], ...] = (
    deprecated.maintainer_deprecated,
    casing.stage_name_casing,
    casing.from_as_casing,
    descriptions.invalid_definition_description,
)
"""Asked of each instruction before it is read."""
PROGRAM: tuple[Callable[[Program], Found], ...] = (stage_names.stage_names, casing.consistent_instruction_casing)
DEFAULTS: tuple[Callable[[Program, Target], Found], ...] = (variables.invalid_default_arg_in_from,)
HEAD: tuple[Callable[[From, Target], Found], ...] = (variables.undefined_arg_in_from, platforms.platform_flag)
"""Asked of each FROM before its variables are filled in."""
_UNDEFINED = (variables.undefined_var,)
INSTRUCTION: Mapping[type[Instruction], tuple[Callable[[Any, StageState, Target], Found], ...]] = {
    Arg: (secrets.secret_in_arg, *_UNDEFINED),
    Cmd: (commands.multiple_instructions, commands.json_args_recommended),
    Copy: (*_UNDEFINED, ignored.copy_ignored_file),
    Entrypoint: (commands.multiple_instructions, commands.json_args_recommended),
    Env: (*_UNDEFINED, deprecated.legacy_key_value_format, secrets.secret_in_env),
    Expose: (ports.exposed_ports,),
    Healthcheck: (commands.multiple_instructions,),
    Label: (*_UNDEFINED, deprecated.legacy_key_value_format),
    Run: _UNDEFINED,
    StopSignal: _UNDEFINED,
    User: _UNDEFINED,
    Volume: _UNDEFINED,
    Workdir: (*_UNDEFINED, workdir.workdir_relative_path),
}
"""Asked of each instruction with the stage as it is before it."""


def rules() -> tuple[Rule, ...]:
    """All there are: BuildKit's in its order, then our own."""
    from trimaran.dockerfile.lint import emulation, layers, unread

    return (
        casing.STAGE_NAME_CASING,
        casing.FROM_AS_CASING,
        deprecated.NO_EMPTY_CONTINUATION,
        casing.CONSISTENT_INSTRUCTION_CASING,
        stage_names.DUPLICATE_STAGE_NAME,
        stage_names.RESERVED_STAGE_NAME,
        commands.JSON_ARGS_RECOMMENDED,
        deprecated.MAINTAINER_DEPRECATED,
        variables.UNDEFINED_ARG_IN_FROM,
        workdir.WORKDIR_RELATIVE_PATH,
        variables.UNDEFINED_VAR,
        commands.MULTIPLE_INSTRUCTIONS_DISALLOWED,
        deprecated.LEGACY_KEY_VALUE_FORMAT,
        platforms.INVALID_BASE_IMAGE_PLATFORM,
        platforms.REDUNDANT_TARGET_PLATFORM,
        secrets.SECRETS_USED_IN_ARG_OR_ENV,
        variables.INVALID_DEFAULT_ARG_IN_FROM,
        platforms.FROM_PLATFORM_FLAG_CONST_DISALLOWED,
        ignored.COPY_IGNORED_FILE,
        descriptions.INVALID_DEFINITION_DESCRIPTION,
        ports.EXPOSE_PROTO_CASING,
        ports.EXPOSE_INVALID_FORMAT,
        emulation.NEEDLESS_EMULATION,
        emulation.BASE_OF_ONE_ARCHITECTURE,
        layers.COPY_BEFORE_INSTALL,
        layers.PACKAGE_CACHE_IN_LAYER,
        unread.UNREAD_CONTEXT_FOLDER,
    )
