"""The CLI reference (docs/cli, one page a command) and man pages, made from the flag table.

`python -m trimaran.cli.reference docs/cli man` writes them; a test says when they are out of date. The wheel puts man
pages where `man` looks for those of the Python it is installed for.
"""

from __future__ import annotations

import os
import sys

from trimaran.cli import commands
from trimaran.cli.help import usage_line, value_name
from trimaran.cli.options import Command, Flag

PROGRAM = "trimaran"


def pages() -> dict[str, str]:
    """File name to text of docs/cli."""
    made = {f"{name.replace(' ', '_')}.md": page(commands.command(name)) for name in commands.TABLE}
    return {"README.md": contents(), **made}


def contents() -> str:
    """The first page: all commands, and what buildx has that is not here."""
    lines = [f"# {PROGRAM} command line\n", f"{commands.SUMMARY}. Made from the program's own flag table.\n"]
    sections: dict[str, list[str]] = {}
    for name, (_, section, summary) in commands.TABLE.items():
        link = f"| [`{PROGRAM} {name}`]({name.replace(' ', '_')}.md) | {summary} |"
        sections.setdefault(section, []).append(link)
    for section, rows in sections.items():
        lines.append(f"## {section}\n\n| command | what it does |\n|---|---|\n" + "\n".join(rows) + "\n")
    lines.append(
        "## Commands of buildx that are not here\n\nAs Docker's plugin they go to the buildx that Trimaran displaced, "
        "if there is one.\n\n| command | instead |\n|---|---|\n"
        + "\n".join(f"| `{name}` | {hint} |" for name, hint in sorted(commands.UNSUPPORTED.items()))
        + "\n"
    )
    lines.append(_exit_codes())
    return "\n".join(lines)


def _exit_codes() -> str:
    from trimaran.cli import main
    from trimaran.cli.run import NOT_STARTED

    rows = (
        (main.OK, "done"),
        (main.FAILED, "the build or command failed, or was asked for in a way that cannot be done"),
        (main.INTERNAL, "a bug of Trimaran"),
        (main.EXHAUSTED, "no space or memory left"),
        (main.BAD_FLAG_IN_PLUGIN, "a flag docker's plugin does not know"),
        (NOT_STARTED, "`run`: the program could not be started, for any reason but these:"),
        (126, "`run`: the program is there and cannot be executed"),
        (127, "`run`: the program was not found in the image"),
        (main.INTERRUPTED, "cancelled"),
    )
    return (
        "## Exit codes\n\n| code | meaning |\n|---|---|\n" + "\n".join(f"| {c} | {text} |" for c, text in rows) + "\n"
    )


def page(command: Command) -> str:
    parts = [f"# {PROGRAM} {command.path}\n", f"```\n{usage_line(PROGRAM, command)}\n```\n"]
    parts.append((command.description or command.summary) + "\n")
    if command.aliases:
        parts.append("Aliases: " + ", ".join(f"`{alias}`" for alias in command.aliases) + "\n")
    if command.examples:
        shown = "\n\n".join(f"# {example.text}\n{PROGRAM} {example.command}" for example in command.examples)
        parts.append(f"## Examples\n\n```sh\n{shown}\n```\n")
    flags = sorted((flag for flag in command.flags if not flag.hidden), key=lambda flag: flag.name)
    usable = [flag for flag in flags if not flag.unsupported]
    if usable:
        rows = "\n".join(_row(flag) for flag in usable)
        parts.append(f"## Options\n\n| option | value | meaning |\n|---|---|---|\n{rows}\n")
    refused = [flag for flag in flags if flag.unsupported]
    if refused:
        rows = "\n".join(f"| `--{flag.name}` | {_cell(flag.unsupported)} |" for flag in refused)
        parts.append(f"## Options of buildx that are refused\n\n| option | instead |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def _row(flag: Flag) -> str:
    names = ", ".join(f"`{name}`" for name in ([f"-{flag.shorthand}"] if flag.shorthand else []) + [f"--{flag.name}"])
    notes = [flag.help + "."]
    if flag.default:
        notes.append(f"Default: `{flag.default}`.")
    if flag.environment:
        notes.append(f"Else `${flag.environment}`.")
    value = "" if flag.kind == "bool" else value_name(flag)
    return f"| {names} | {value} | {_cell(' '.join(notes))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def man_page(command: Command) -> str:
    """Section 1, in roff."""
    name = f"{PROGRAM} {command.path}".replace(" ", "-")
    lines = [f'.TH "{name.upper()}" 1 "" "{PROGRAM}"', ".SH NAME", f"{_roff(name)} \\- {_roff(command.summary)}"]
    lines += [".SH SYNOPSIS", f".B {PROGRAM} {_roff(command.usage)}"]
    lines += [".SH DESCRIPTION", _roff(command.description or command.summary)]
    shown = [flag for flag in sorted(command.flags, key=lambda flag: flag.name) if not flag.hidden]
    if shown:
        lines.append(".SH OPTIONS")
    for flag in shown:
        short = f"\\-{flag.shorthand}, " if flag.shorthand else ""
        value = "" if flag.kind == "bool" else f" \\fI{_roff(value_name(flag))}\\fR"
        lines += [".TP", f"\\fB{short}\\-\\-{_roff(flag.name)}\\fR{value}", _roff(flag.help)]
        if flag.unsupported:
            lines.append(f"Refused: {_roff(flag.unsupported)}")
    if command.examples:
        lines.append(".SH EXAMPLES")
    for example in command.examples:
        lines += [".PP", _roff(example.text), ".PP", ".nf", f".RS\n{PROGRAM} {_roff(example.command)}\n.RE", ".fi"]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in {".", "'"} else line for line in escaped.split("\n"))


def write(folder: str, made: dict[str, str]) -> None:
    """Exactly these files: pages of commands that are gone are removed."""
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        if name not in made and name.endswith((".md", ".1")):
            os.unlink(os.path.join(folder, name))
    for name, text in made.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def man_pages() -> dict[str, str]:
    """File name to text of all man pages: one of the whole, and one a command."""
    found = [commands.command(name) for name in commands.TABLE]
    made = {f"{PROGRAM}-{each.path.replace(' ', '-')}.1": man_page(each) for each in found}
    return {f"{PROGRAM}.1": man_contents(), **made}


def man_contents() -> str:
    lines = [f'.TH "{PROGRAM.upper()}" 1 "" "{PROGRAM}"', ".SH NAME", f"{PROGRAM} \\- {_roff(commands.SUMMARY)}"]
    lines += [".SH SYNOPSIS", f".B {PROGRAM} [OPTIONS] COMMAND"]
    sections: dict[str, list[str]] = {}
    for name, (_, section, summary) in commands.TABLE.items():
        row = [".TP", f"\\fB{PROGRAM}\\-{_roff(name.replace(' ', '-'))}\\fR(1)", _roff(summary)]
        sections.setdefault(section, []).extend(row)
    for section, rows in sections.items():
        lines += [f".SH {_roff(section.upper())}", *rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    write(sys.argv[1], pages())
    if len(sys.argv) > 2:
        write(sys.argv[2], man_pages())


if __name__ == "__main__":
    main()
