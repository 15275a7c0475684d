"""`help COMMAND`: the same as `COMMAND --help`."""

from __future__ import annotations

from trimaran.cli import commands
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Values

COMMAND = Command(
    name="help",
    summary="Help about any command",
    usage="help [COMMAND]",
    flags=(DEBUG,),
    arguments=(0, -1),
)


def run(values: Values, invocation: Invocation) -> int:
    from trimaran.cli.help import command_help
    from trimaran.cli.main import group_help, root_help, terminal_width

    words = list(values.arguments)
    name, _ = commands.find(words)
    if name:
        invocation.out(command_help(invocation.program, commands.command(name), terminal_width()))
    elif words and words[0] in commands.GROUPS:
        invocation.out(group_help(invocation, words[0]))
    else:
        if words:
            invocation.err(f"Unknown help topic {' '.join(words)!r}\n")
        invocation.out(root_help(invocation))
    return 0
