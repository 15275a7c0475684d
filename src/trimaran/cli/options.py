"""The flags of a command as one table, and the parser that reads argv by it the way Docker's CLI does (spf13/pflag).

The same table drives help, completion, man pages and docs/cli. Pure: text in, values or a FlagError out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from trimaran.cli.units import parse_bool, parse_bytes, parse_duration, parse_integer, split_csv
from trimaran.errors import UsageError

Kind = Literal["bool", "string", "int", "bytes", "duration", "strings", "stringArray"]
"""`strings` splits its value as csv, `stringArray` takes it as it is; both collect over repeated use."""

Value = bool | int | str | tuple[str, ...]


class FlagError(UsageError):
    """argv does not fit the table. Worded as pflag words it; docker shows it with the command's usage line."""


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    shorthand: str = ""
    kind: Kind = "string"
    help: str = ""
    #: Word shown for the value's type; "" is the kind.
    value_name: str = ""
    #: Initial value as the user would write it, shown in help.
    default: str = ""
    #: Environment variable that stands in when the flag is not given.
    environment: str = ""
    #: Words offered by completion.
    choices: tuple[str, ...] = ()
    #: What the flag says without `=VALUE` ("": it needs a value).
    bare: str = ""
    hidden: bool = False
    #: Accepted, without effect.
    ignored: bool = False
    #: Said on stderr when it is used ("" nothing): why it has no effect, or what it is called now.
    note: str = ""
    #: Known to buildx, not done here: what to do instead. Any use is refused.
    unsupported: str = ""
    #: What completion offers for the value: files, folders or image names.
    completes: Literal["", "file", "folder", "image"] = ""


class Example(msgspec.Struct, frozen=True):
    text: str
    command: str


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """`usage` begins with the command's own path, without the program's name ("imagetools inspect [OPTIONS] NAME")."""

    name: str
    summary: str
    usage: str
    module: str = ""
    """Where `run(values, arguments) -> int` is; "" for a group."""
    aliases: tuple[str, ...] = ()
    description: str = ""
    flags: tuple[Flag, ...] = ()
    #: How many positional arguments: at least, at most (-1: any number).
    arguments: tuple[int, int] = (0, 0)
    examples: tuple[Example, ...] = ()
    #: Flags after the first positional argument belong to somebody else (`run IMAGE CMD -x`).
    interspersed: bool = True
    hidden: bool = False
    #: What completion offers for positional arguments.
    completes: Literal["", "file", "folder", "image", "build", "builder"] = ""
    choices: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        words = self.usage.split()
        depth = next((i for i, word in enumerate(words) if not word.islower()), len(words))
        return " ".join(words[:depth])


DEBUG = Flag(name="debug", shorthand="D", kind="bool", help="Show the traceback of errors")
BUILDER = Flag(name="builder", help="Override the configured builder instance", environment="BUILDX_BUILDER")


class Values:
    """What argv said, with defaults; ask by the flag's name and kind. Unknown names are bugs (KeyError)."""

    __slots__ = ("_given", "_values", "arguments", "notes")

    def __init__(self, flags: Sequence[Flag], environment: dict[str, str]) -> None:
        self._values: dict[str, Value] = {flag.name: initial(flag, environment) for flag in flags}
        self._given: set[str] = set()
        self.arguments: tuple[str, ...] = ()
        #: Remarks on ignored and deprecated flags, for stderr.
        self.notes: list[str] = []

    def given(self, name: str) -> bool:
        """Whether argv itself names the flag."""
        return name in self._given

    def boolean(self, name: str) -> bool:
        value = self._values[name]
        assert isinstance(value, bool), name
        return value

    def number(self, name: str) -> int:
        value = self._values[name]
        assert isinstance(value, int), name
        return value

    def text(self, name: str) -> str:
        value = self._values[name]
        assert isinstance(value, str), name
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._values[name]
        assert isinstance(value, tuple), name
        return value

    def as_of(self, flags: Sequence[Flag], arguments: tuple[str, ...]) -> Values:
        """The same words as those of another command, whose flags the own ones are some of."""
        other = Values(flags, {})
        other._values.update(self._values)
        other._given.update(self._given)
        other.arguments = arguments
        return other

    def set(self, flag: Flag, text: str) -> None:
        """Take one use of a flag; a single value replaces, a list grows (and forgets its default)."""
        value = parse_value(flag, text)
        if isinstance(value, tuple) and flag.name in self._given:
            earlier = self._values[flag.name]
            assert isinstance(earlier, tuple)
            value = (*earlier, *value)
        self._values[flag.name] = value
        self._given.add(flag.name)


def initial(flag: Flag, environment: dict[str, str]) -> Value:
    text = environment.get(flag.environment, "") if flag.environment else ""
    text = text or flag.default
    if text:
        return parse_value(flag, text)
    empty: dict[str, Value] = {"bool": False, "string": "", "int": 0, "bytes": 0, "duration": 0}
    return empty.get(flag.kind, ())


def parse_value(flag: Flag, text: str) -> Value:
    """Raises ValueError whose text says what is wrong with `text`."""
    match flag.kind:
        case "bool":
            return parse_bool(text)
        case "int":
            return parse_integer(text)
        case "bytes":
            return parse_bytes(text)
        case "duration":
            return parse_duration(text)
        case "strings":
            return tuple(split_csv(text)) if text else ()
        case "stringArray":
            return (text,)
        case _:
            return text


class HelpAsked(Exception):
    """`--help` or `-h` was among the flags."""


def parse(
    flags: Sequence[Flag], argv: Sequence[str], *, environment: dict[str, str], interspersed: bool = True
) -> Values:
    """Read argv by the table. Linear; raises FlagError or HelpAsked."""
    values = Values(flags, environment)
    table = {flag.name: flag for flag in flags}
    shorthands = {flag.shorthand: flag for flag in flags if flag.shorthand}
    positional: list[str] = []
    position = 0
    while position < len(argv):
        word = argv[position]
        position += 1
        if word == "--":
            positional.extend(argv[position:])
            break
        if len(word) < 2 or word[0] != "-":
            positional.append(word)
            if interspersed:
                continue
            positional.extend(argv[position:])
            break
        if word.startswith("--"):
            position = _long(values, table, word, argv, position)
        else:
            position = _short(values, shorthands, word[1:], argv, position)
    values.arguments = tuple(positional)
    return values


def _long(values: Values, table: dict[str, Flag], word: str, argv: Sequence[str], position: int) -> int:
    name, equals, text = word[2:].partition("=")
    if not name or name[0] == "-":
        raise FlagError(f"bad flag syntax: {word}")
    flag = table.get(name)
    if flag is None:
        if name == "help":
            raise HelpAsked
        raise FlagError(f"unknown flag: --{name}", hint=_nearest_flag(name, table))
    if not equals:
        if flag.kind == "bool" or flag.bare:
            text = flag.bare or "true"
        elif position < len(argv):
            text = argv[position]
            position += 1
        else:
            raise FlagError(f"flag needs an argument: --{name}")
    _take(values, flag, text)
    return position


def _short(values: Values, shorthands: dict[str, Flag], letters: str, argv: Sequence[str], position: int) -> int:
    while letters:
        letter, rest = letters[0], letters[1:]
        flag = shorthands.get(letter)
        if flag is None:
            if letter == "h":
                raise HelpAsked
            raise FlagError(f"unknown shorthand flag: {letter!r} in -{letters}")
        if len(rest) > 1 and rest[0] == "=":
            text, rest = rest[1:], ""
        elif flag.kind == "bool":
            text = "true"
        elif rest:
            text, rest = rest, ""
        elif position < len(argv):
            text = argv[position]
            position += 1
        else:
            raise FlagError(f"flag needs an argument: {letter!r} in -{letters}")
        _take(values, flag, text)
        letters = rest
    return position


def _take(values: Values, flag: Flag, text: str) -> None:
    if flag.unsupported:
        shown = f"--{flag.name}" if flag.kind == "bool" and text == "true" else f"--{flag.name}={text}"
        if flag.kind == "bool" and not _is_true(text):
            return
        raise UsageError(f"{shown}: not done by the embedded builder", hint=flag.unsupported)
    try:
        values.set(flag, text)
    except ValueError as error:
        shown = f"-{flag.shorthand}, --{flag.name}" if flag.shorthand else f"--{flag.name}"
        raise FlagError(f'invalid argument "{text}" for "{shown}" flag: {error}') from None
    if flag.note and flag.note not in values.notes:
        values.notes.append(flag.note)


def _is_true(text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError:
        return True


def _nearest_flag(name: str, table: dict[str, Flag]) -> str:
    from trimaran.spelling import nearest

    word = nearest(name, [flag.name for flag in table.values() if not flag.hidden])
    return f"did you mean --{word}?" if word else ""
