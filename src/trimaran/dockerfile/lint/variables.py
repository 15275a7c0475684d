"""Variables that nothing sets: in FROM, in instructions; and FROM with arguments that have no default."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile.arguments import NOT_ENVIRONMENT, predefined, with_global
from trimaran.dockerfile.expansion import IN_HEREDOC, texts
from trimaran.dockerfile.instructions import Copy, From, Instruction
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.lint.suggest import suggest
from trimaran.dockerfile.stages import Program
from trimaran.dockerfile.state import StageState, Target
from trimaran.dockerfile.words import Expander, ExpansionError
from trimaran.errors import UsageError
from trimaran.reference import Reference

UNDEFINED_VAR = Rule(
    name="UndefinedVar",
    description="Variables should be defined before their use",
    message="Usage of undefined variable '${name}'{near}",
)
UNDEFINED_ARG_IN_FROM = Rule(
    name="UndefinedArgInFrom",
    description="FROM command must use declared ARGs",
    message="FROM argument '{name}' is not declared{near}",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    name="InvalidDefaultArgInFrom",
    description="Default value for global ARG results in an empty or invalid base image name",
    message="Default value for ARG {base} results in empty or invalid base image name",
)


def undefined_var(item: Instruction, state: StageState, target: Target) -> Iterator[Finding]:
    """Arguments that were declared count as defined, even without a value."""
    declared = {argument.name for argument in state.args}
    for names in _unset(item, state, target):
        for name in sorted(names - declared - NOT_ENVIRONMENT):
            near = suggest(name, state.env)
            yield UNDEFINED_VAR.found(item.node, name=name, near=f" (did you mean ${near}?)" if near else "")


def _unset(item: Instruction, state: StageState, target: Target) -> Iterator[frozenset[str]]:
    """What each expanded text of an instruction names and the environment has not."""
    for text in texts(item, target.build_args):
        yield from _unmatched(target.expander, text, state)
    if isinstance(item, Copy):
        for file in item.files:
            if file.expand:
                yield from _unmatched(IN_HEREDOC, file.content, state)


def _unmatched(expander: Expander, text: str, state: StageState) -> Iterator[frozenset[str]]:
    if "$" not in text:
        return
    try:
        yield expander.expand(text, state.env).unmatched
    except ExpansionError as error:
        yield error.unmatched  # what else is wrong the conversion says


def undefined_arg_in_from(head: From, target: Target) -> Iterator[Finding]:
    for text in (head.base, head.platform):
        try:
            names = target.expander.expand(text, target.arguments).unmatched
        except ExpansionError:
            continue
        for name in sorted(names - target.declared):
            near = suggest(name, [*target.arguments, *target.declared])
            yield UNDEFINED_ARG_IN_FROM.found(head.node, name=name, near=f" (did you mean {near}?)" if near else "")


def invalid_default_arg_in_from(program: Program, target: Target) -> Iterator[Finding]:
    """As if the build had no build arguments."""
    request = target.request
    name = request.target or program.stages[-1].name
    values = predefined(request.build_platform, target.platform, name, target.build_args)
    try:
        values = with_global(values, program.arguments, target.expander, {})
        for stage in program.stages:
            base = target.expander.word(stage.head.base, values)
            if not _is_name(base):
                yield INVALID_DEFAULT_ARG_IN_FROM.found(stage.head.node, base=stage.head.base)
    except UsageError:
        return  # the conversion says so


def _is_name(base: str) -> bool:
    try:
        Reference.parse(base)
    except UsageError:
        return False
    return True
