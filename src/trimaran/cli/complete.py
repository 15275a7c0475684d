"""What may follow on a command line: the answers to `__complete`, which docker asks its plugins and our own scripts us.

The protocol is Cobra's: the words so far and the one that is being typed; back come lines of `value<TAB>description`
and last `:N`, in which bits say what the shell is to do (`Directive`). What buildx answers, this answers the same way;
beyond that it knows values: platforms, outputs, images of the store, earlier builds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntFlag

import msgspec

from trimaran.cli import commands
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import BUILDER, DEBUG, Command, Flag

WITH_DESCRIPTIONS = "__complete"
_REPEATED = frozenset({"strings", "stringArray"})


class Directive(IntFlag):
    """Cobra's ShellCompDirective; nothing set: files are offered where there are no candidates."""

    DEFAULT = 0
    NO_SPACE = 2
    NO_FILES = 4
    FOLDERS = 16


class Candidate(msgspec.Struct, frozen=True):
    value: str
    description: str = ""


class Answer(msgspec.Struct, frozen=True):
    candidates: tuple[Candidate, ...] = ()
    directive: Directive = Directive.NO_FILES


class _Line(msgspec.Struct):
    """What the words before the one that is typed come to."""

    path: str = ""
    command: Command | None = None
    group: str = ""
    given: tuple[str, ...] = ()
    arguments: int = 0
    waiting: Flag | None = None
    """A flag whose value is typed next."""
    only_arguments: bool = False
    lost: bool = False
    """A word before is no command."""

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Those of every command first."""
        own = self.command.flags if self.command is not None else ()
        shared = tuple(flag for flag in (BUILDER, DEBUG) if self.command is None or flag in own)
        return (*shared, *sorted((flag for flag in own if flag not in shared), key=lambda flag: flag.name))

    def flag(self, name: str) -> Flag | None:
        return next((flag for flag in self.flags if name in {flag.name, flag.shorthand}), None)


def complete(words: Sequence[str], named: Callable[[str], Iterable[str]]) -> Answer | None:
    """The answer to `words`, of which the last is being typed ("" before its first letter).

    `named` gives the names of a kind (`image`, `build`, `builder`) that this machine knows. None: a word is no command
    of ours. Pure but for `named`.
    """
    *before, current = words or [""]
    line = _read(before)
    if line.lost:
        return None
    if line.waiting is not None:
        return _value(line.waiting, current, named)
    if not line.only_arguments and current.startswith("-"):
        name, equals, value = current.lstrip("-").partition("=")
        if equals:
            flag = line.flag(name)
            return _value(flag, value, named) if flag is not None else Answer(directive=Directive.DEFAULT)
        return Answer(tuple(_flags(line, current)))
    if line.command is None:
        return Answer(tuple(Candidate(*row) for row in _names(line.group) if row[0].startswith(current)))
    return _argument(line.command, line.arguments, current, named)


def _read(before: Sequence[str]) -> _Line:
    line = _Line()
    for word in before:
        if line.waiting is not None:
            line.waiting = None
        elif word == "--" and not line.only_arguments:
            line.only_arguments = True
        elif word.startswith("-") and len(word) > 1 and not line.only_arguments:
            name, equals, _ = word.lstrip("-").partition("=")
            flag = line.flag(name)
            if flag is not None:
                line.given = (*line.given, flag.name)
                line.waiting = flag if not equals and flag.kind != "bool" and not flag.bare else None
        elif line.command is not None:
            line.arguments += 1
            line.only_arguments = line.only_arguments or not line.command.interspersed
        else:
            _read_command(line, word)
    return line


def _read_command(line: _Line, word: str) -> None:
    path = f"{line.group} {commands.ALIASES.get(word, word)}".strip()
    if path in commands.runnable():
        line.command = commands.command(path)
    elif not line.group and path in commands.GROUPS:
        line.group = path
    else:
        line.lost = True


def _names(group: str) -> list[tuple[str, str]]:
    if group:
        return sorted(commands.subcommands(group))
    return sorted(row for _, rows in commands.sections() for row in rows)


def _flags(line: _Line, current: str) -> Iterable[Candidate]:
    for flag in line.flags:
        if flag.hidden or flag.unsupported or (flag.name in line.given and flag.kind not in _REPEATED):
            continue
        for word in (f"--{flag.name}", f"-{flag.shorthand}" if flag.shorthand else ""):
            if word and word.startswith(current):
                yield Candidate(word, flag.help)


def _value(flag: Flag, current: str, named: Callable[[str], Iterable[str]]) -> Answer:
    """Of values that are lists, the part after the last comma."""
    if flag.kind == "bool":
        return Answer(directive=Directive.DEFAULT)
    kind = "builder" if flag.name == BUILDER.name else flag.completes
    known = flag.choices or (tuple(named(kind)) if kind in {"builder", "image"} else ())
    # `type=…` stands first and alone; keys that all wait for a value may follow each other.
    several = flag.kind in _REPEATED and not any("=" in word[:-1] for word in known)
    head, comma, rest = current.rpartition(",") if several else ("", "", current)
    found = tuple(Candidate(head + comma + word) for word in known if word.startswith(rest))
    if kind == "folder":
        return Answer(directive=Directive.FOLDERS)
    if not found:
        return Answer(directive=Directive.NO_FILES if known and kind else Directive.DEFAULT)
    more = any("=" in candidate.value for candidate in found)  # `type=local` is followed by `,dest=…`
    return Answer(found, Directive.NO_FILES | Directive.NO_SPACE if more else Directive.NO_FILES)


def _argument(command: Command, count: int, current: str, named: Callable[[str], Iterable[str]]) -> Answer:
    most = command.arguments[1]
    if 0 <= most <= count:
        return Answer()
    if not command.interspersed and count:  # the words of somebody else's program
        return Answer(directive=Directive.DEFAULT)
    kind = command.completes
    if kind in {"file", "folder"}:
        return Answer(directive=Directive.FOLDERS if kind == "folder" else Directive.DEFAULT)
    known = command.choices or (named(kind) if kind else ())
    return Answer(tuple(Candidate(word) for word in known if word.startswith(current)))


def run(request: str, words: Sequence[str], invocation: Invocation) -> int:
    """Answer on standard output. What docker asks about a command of the displaced buildx, that one answers."""
    from trimaran.cli.known_names import names

    answer = complete(words, names)
    if invocation.plugin:
        from trimaran.cli.docker_plugin import Plugin, answers

        displaced = Plugin(invocation.environment).displaced()
        if displaced and (answer is None or len(words) <= 1):
            more = answers(displaced, [request, "buildx", *words], invocation.environment)
            if answer is None:
                invocation.out(more)
                return 0
            answer = _joined(answer, more)
    invocation.out(text(answer or Answer(directive=Directive.DEFAULT), described=request == WITH_DESCRIPTIONS))
    return 0


def _joined(answer: Answer, more: str) -> Answer:
    """With the candidates of another program's answer that are not among ours."""
    ours = {candidate.value for candidate in answer.candidates}
    others = [Candidate(*line.split("\t", 1)) for line in more.splitlines() if not line.startswith(":")]
    joined = [*answer.candidates, *(each for each in others if each.value not in ours)]
    return Answer(tuple(sorted(joined, key=lambda each: each.value)), answer.directive)


def text(answer: Answer, *, described: bool) -> str:
    rows = []
    for each in answer.candidates:
        description = each.description.splitlines()[0] if described and each.description else ""
        rows.append(f"{each.value}\t{description}" if description else each.value)
    return "".join(f"{row}\n" for row in (*rows, f":{answer.directive:d}"))
