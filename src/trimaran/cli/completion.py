"""`completion SHELL`: a script with which the shell asks `__complete` what may follow."""

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
    choices=SHELLS,
    examples=(
        Example("bash (4.4 or newer), for this shell:", "completion bash > /tmp/c && . /tmp/c"),
        Example("zsh, after compinit:", "completion zsh > ~/.zsh-trimaran && . ~/.zsh-trimaran"),
        Example("fish:", "completion fish > ~/.config/fish/completions/trimaran.fish"),
    ),
)


def run(values: Values, invocation: Invocation) -> int:
    shell = values.arguments[0]
    if shell not in SHELLS:
        message, hint = unknown("shell", shell, SHELLS)
        raise UsageError(message, hint=hint)
    from trimaran.cli.shells import SCRIPTS

    invocation.out(SCRIPTS[shell])
    return 0
