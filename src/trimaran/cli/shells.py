"""Completion scripts for bash, zsh and fish, made from the flag table; no program is run while completing."""

from __future__ import annotations

import shlex

from trimaran.cli import commands
from trimaran.cli.options import Command, Flag

PROGRAM = "trimaran"
_ROOT = ("--builder", "--debug", "--help", "--version")


def _words() -> dict[str, str]:
    """The first words after the program and after each group, with their summaries."""
    roots = [name.partition(" ")[0] for name in commands.runnable()]
    found = {"": " ".join(dict.fromkeys(roots))}
    for group in commands.GROUPS:
        found[group] = " ".join(name for name, _ in commands.subcommands(group))
    return found


def _commands() -> list[tuple[str, Command]]:
    return [(name, commands.command(name)) for name in commands.runnable()]


def _flags(command: Command) -> list[Flag]:
    return [flag for flag in command.flags if not flag.hidden and not flag.unsupported]


def _names(flag: Flag) -> list[str]:
    return [f"--{flag.name}", *([f"-{flag.shorthand}"] if flag.shorthand else [])]


_BASH = """# bash completion of @PROGRAM@
_@PROGRAM@() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
    local command="" words="" flags="" files="" word index
    for ((index = 1; index < COMP_CWORD; index++)); do
        word="${COMP_WORDS[index]}"
        [[ $word == -* ]] && continue
        case "$command" in
            "") command="$word" ;;
            @GROUPS@) command="$command $word" ;;
        esac
    done
    case "$command $previous" in
@VALUES@
    esac
    if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$current")); return; fi
    if [[ $files == folder ]]; then COMPREPLY=($(compgen -d -- "$current")); return; fi
    if [[ $files == file ]]; then COMPREPLY=($(compgen -f -- "$current")); return; fi
    if [[ $current == -* ]]; then
        flags="@ROOT@"
        case "$command" in
@FLAGS@
        esac
        COMPREPLY=($(compgen -W "$flags" -- "$current")); return
    fi
    case "$command" in
@WORDS@
    esac
    if [[ $files == folder ]]; then COMPREPLY=($(compgen -d -- "$current")); return; fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o filenames -F _@PROGRAM@ @PROGRAM@
"""


def bash() -> str:
    words = [f'        "{group}") words="{text}" ;;' for group, text in _words().items()]
    flags: list[str] = []
    values: list[str] = []
    for name, command in _commands():
        shown = [word for flag in _flags(command) for word in _names(flag)]
        flags.append(f'        "{name}") flags="{" ".join([*shown, "--help"])}" ;;')
        values += [line for flag in _flags(command) if (line := _bash_value(name, flag))]
        if command.completes in {"file", "folder"}:
            words.append(f'        "{name}") files={command.completes} ;;')
    parts = {
        "PROGRAM": PROGRAM,
        "GROUPS": "|".join(commands.GROUPS),
        "ROOT": " ".join(_ROOT),
        "VALUES": "\n".join(values),
        "FLAGS": "\n".join(flags),
        "WORDS": "\n".join(words),
    }
    text = _BASH
    for word, replacement in parts.items():
        text = text.replace(f"@{word}@", replacement)
    return text


def _bash_value(name: str, flag: Flag) -> str:
    """The line that says what may follow a flag; "" when anything may."""
    patterns = "|".join(f'"{name} {word}"' for word in _names(flag))
    if flag.kind != "bool" and flag.choices:
        return f"        {patterns}) words={shlex.quote(' '.join(flag.choices))} ;;"
    if flag.completes in {"file", "folder"}:
        return f"        {patterns}) files={flag.completes} ;;"
    return ""


def zsh() -> str:
    body: list[str] = []
    for group, text in _words().items():
        body.append(f'    "{group}") _values command {text} ;;')
    for name, command in _commands():
        arguments = [_zsh_argument(word, flag) for flag in _flags(command) for word in _names(flag)]
        place = {"folder": "'*:folder:_files -/'", "file": "'*:file:_files'"}.get(command.completes, "'*:: :_default'")
        body.append(f'    "{name}") _arguments {" ".join([*arguments, place])} ;;')
    groups = "|".join(commands.GROUPS) or '" "'
    lines = [
        f"#compdef {PROGRAM}",
        f"_{PROGRAM}() {{",
        '  local command="" word count=0',
        "  for word in ${words[2,CURRENT-1]}; do",
        "    [[ $word == -* ]] && continue",
        '    case "$command" in',
        '      "") command="$word" ;;',
        f'      {groups}) command="$command $word" ;;',
        "    esac",
        "  done",
        '  case "$command" in',
        *body,
        "  esac",
        "}",
        f'_{PROGRAM} "$@"',
    ]
    return "\n".join(lines) + "\n"


def _zsh_argument(word: str, flag: Flag) -> str:
    text = flag.help.replace("[", "(").replace("]", ")").replace(":", " ")
    spec = f"{'*' if flag.kind in {'strings', 'stringArray'} else ''}{word}[{text}]"
    if flag.kind != "bool":
        action = {"file": "_files", "folder": "_files -/"}.get(flag.completes, " ")
        choices = " ".join(choice.replace(":", "\\:") for choice in flag.choices)
        spec += f":value:({choices})" if choices else f":value:{action}"
    return shlex.quote(spec)


def fish() -> str:
    lines = [f"complete -c {PROGRAM} -f"]
    roots = _words()[""]
    for name in roots.split():
        summary = commands.GROUPS.get(name) or commands.TABLE[name][2]
        lines.append(f"complete -c {PROGRAM} -n '__fish_use_subcommand' -a {name} -d {shlex.quote(summary)}")
    for group in commands.GROUPS:
        for name, summary in commands.subcommands(group):
            seen = f"'__fish_seen_subcommand_from {group}'"
            lines.append(f"complete -c {PROGRAM} -n {seen} -a {name} -d {shlex.quote(summary)}")
    for name, command in _commands():
        condition = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        for flag in _flags(command):
            line = f"complete -c {PROGRAM} -n '{condition}' -l {flag.name}"
            line += f" -s {flag.shorthand}" if flag.shorthand else ""
            line += "" if flag.kind == "bool" else " -r"
            line += f" -a {shlex.quote(' '.join(flag.choices))}" if flag.choices else ""
            line += " -F" if flag.completes in {"file", "folder"} else ""
            lines.append(f"{line} -d {shlex.quote(flag.help)}")
        if command.completes in {"file", "folder"}:
            lines.append(f"complete -c {PROGRAM} -n '{condition}' -F")
    return "\n".join(lines) + "\n"
