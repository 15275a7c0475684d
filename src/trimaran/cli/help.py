"""Help text from the flag table, laid out as Docker's CLI does: usage, aliases, options, examples. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.cli.options import Command, Flag

_LEAST_TEXT = 24


def usage_line(program: str, command: Command) -> str:
    return f"Usage:  {program} {command.usage}".rstrip()


def see_help(program: str, command: Command) -> str:
    """What follows a message about wrong arguments."""
    path = f"{program} {command.path}".rstrip()
    return f"{usage_line(program, command)}\n\nRun '{path} --help' for more information"


def command_help(program: str, command: Command, width: int = 80) -> str:
    parts = [usage_line(program, command), "\n".join(wrap(command.description or command.summary, width))]
    if command.aliases:
        names = [f"{program} {_sibling(command.path, alias)}" for alias in (command.name, *command.aliases)]
        parts.append("Aliases:\n  " + ", ".join(names))
    if command.examples:
        lines = [f"  # {example.text}\n  {program} {example.command}" for example in command.examples]
        parts.append("Examples:\n" + "\n\n".join(lines))
    shown = [flag for flag in command.flags if not flag.hidden]
    if shown:
        parts.append("Options:\n" + "\n".join(flag_lines(shown, width)))
    return "\n\n".join(parts) + "\n"


def _sibling(path: str, alias: str) -> str:
    return " ".join([*path.split()[:-1], alias])


def flag_lines(flags: Sequence[Flag], width: int) -> list[str]:
    """Two columns, sorted by name; the right one wraps at `width`."""
    rows = [(_left(flag), _right(flag)) for flag in sorted(flags, key=lambda flag: flag.name)]
    column = max(len(left) for left, _ in rows) + 3
    lines: list[str] = []
    for left, right in rows:
        first, *more = wrap(right, max(width - column, _LEAST_TEXT))
        lines.append(f"{left:<{column}}{first}".rstrip())
        lines.extend(" " * column + line for line in more)
    return lines


def _left(flag: Flag) -> str:
    short = f"-{flag.shorthand}, " if flag.shorthand else "    "
    value = "" if flag.kind == "bool" else " " + value_name(flag)
    return f"  {short}--{flag.name}{value}"


def value_name(flag: Flag) -> str:
    return flag.value_name or flag.kind


def _right(flag: Flag) -> str:
    notes = []
    if flag.default:
        notes.append(
            f"default {flag.default}" if flag.kind in {"int", "bytes", "bool"} else f'default "{flag.default}"'
        )
    if flag.environment:
        notes.append(f"${flag.environment}")
    if flag.unsupported:
        notes.append("not supported")
    return flag.help + (f" ({', '.join(notes)})" if notes else "")


def wrap(text: str, width: int) -> list[str]:
    """Break at blanks: no line is longer than `width`, but one that is a single long word."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".lstrip()
    lines.append(line)
    return lines


def group_help(
    program: str,
    usage: str,
    summary: str,
    flags: Sequence[Flag],
    sections: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    footer: str = "",
) -> str:
    """The help of a group of commands: `sections` are titles with (name, summary) rows."""
    parts = [f"Usage:  {program} {usage}", summary]
    if flags:
        parts.append("Options:\n" + "\n".join(flag_lines(flags, 80)))
    column = max((len(name) for _, rows in sections for name, _ in rows), default=0)
    for title, rows in sections:
        parts.append(f"{title}:\n" + "\n".join(f"  {name:<{column}}  {text}" for name, text in rows))
    path = " ".join([program, *(word for word in usage.split() if word.islower())])
    parts.append(f"Run '{path} COMMAND --help' for more information on a command.")
    if footer:
        parts.append(footer)
    return "\n\n".join(parts) + "\n"
