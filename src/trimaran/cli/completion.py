"""`completion SHELL`: a script that completes commands, flags and their values, made from the flag table."""

from __future__ import annotations

from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Values
from trimaran.errors import UsageError
from trimaran.spelling import unknown

SHELLS = ("bash", "zsh", "fish")
COMMAND = Command(
    name="completion",
    summary="Print a completion script for a shell",
    usage="completion SHELL",
    flags=(DEBUG,),
    arguments=(1, 1),
    examples=(
        Example("bash, for this shell:", "completion bash > /tmp/c && . /tmp/c"),
        Example("fish:", "completion fish > ~/.config/fish/completions/trimaran.fish"),
    ),
)


def run(values: Values, invocation: Invocation) -> int:
    shell = values.arguments[0]
    if shell not in SHELLS:
        message, hint = unknown("shell", shell, SHELLS)
        raise UsageError(message, hint=hint)
    from trimaran.cli.shells import bash, fish, zsh

    invocation.out({"bash": bash, "zsh": zsh, "fish": fish}[shell]())
    return 0
