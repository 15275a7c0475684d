"""Nodes to typed instructions: counts of arguments, flags and their values are checked.

Texts of errors are BuildKit's, so that they are found by those who search for them; the place and hint are ours.
"""

from __future__ import annotations

from collections.abc import Callable

from trimaran.dockerfile import gotext
from trimaran.dockerfile.flags import Flags
from trimaran.dockerfile.heredocs import parse_mark
from trimaran.dockerfile.instructions import (
    Arg,
    ArgItem,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    InlineFile,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Pair,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from trimaran.dockerfile.parse import KEYWORDS, Node, Word
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.words import ExpansionError
from trimaran.spelling import did_you_mean

MIN_INTERVAL = 10**6
NETWORKS = ("default", "none", "host")
SECURITY = ("sandbox", "insecure")
NO_TRIGGERS = ("FROM", "MAINTAINER", "ONBUILD")


def instruction(node: Node) -> Instruction:
    """The instruction a node is; DockerfileError with the exact place when it is none."""
    build = _BUILDERS.get(node.keyword)
    if build is None:
        word = Word(node.name, node.line.text.find(node.name), node.line.text.find(node.name) + len(node.name))
        hint = did_you_mean(node.name, KEYWORDS)
        raise node.error(f"unknown instruction: {node.name}", word, hint=hint)
    return build(node)


def _texts(node: Node) -> tuple[str, ...]:
    return tuple(word.text for word in node.arguments)


def _at_least_one(node: Node) -> None:
    if not node.arguments:
        raise node.error(f"{node.keyword} requires at least one argument")


def _single(node: Node) -> str:
    if len(node.arguments) != 1:
        raise node.error(f"{node.keyword} requires exactly one argument")
    Flags(node)
    return node.arguments[0].text


def _pairs(node: Node) -> tuple[Pair, ...]:
    Flags(node)
    _at_least_one(node)
    names, values = node.arguments[::2], node.arguments[1::2]
    if len(names) != len(values):
        raise node.error(f"Bad input to {node.keyword}, too many arguments")
    for name, value in zip(names, values, strict=True):
        if not name.text:
            raise node.error(f"{node.keyword} names can not be blank", value)
    return tuple(Pair(name.text, value.text) for name, value in zip(names, values, strict=True))


def _copy(node: Node) -> Copy:
    keyword = node.keyword
    if len(node.arguments) < 2:
        raise node.error(
            f"{keyword} requires at least two arguments, but only one was provided. "
            "Destination could not be determined",
            hint=f"{keyword} SOURCE… DESTINATION",
        )
    flags = Flags(node)
    *words, destination = node.arguments
    if _mark(node, destination):
        raise node.error(f"{keyword} cannot accept a heredoc as a destination", destination)
    contents = {doc.name: doc for doc in node.heredocs}
    sources: list[str] = []
    files: list[InlineFile] = []
    for word in words:
        mark = None if node.is_json else _mark(node, word)
        if mark is None:
            sources.append(word.text)
        else:
            doc = contents.get(mark)
            files.append(InlineFile(mark, doc.chomped if doc else "", doc.expand if doc else False))
    is_add = keyword == "ADD"
    return Copy(
        node=node,
        is_add=is_add,
        sources=tuple(sources),
        files=tuple(files),
        destination=destination.text,
        source_stage="" if is_add else flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.bool("link")),
        parents=not is_add and bool(flags.bool("parents")),
        excludes=flags.texts("exclude"),
        checksum=flags.text("checksum") if is_add else "",
        unpack=flags.bool("unpack") if is_add else None,
        keep_git_dir=flags.bool("keep-git-dir") if is_add else None,
    )


def _mark(node: Node, word: Word) -> str | None:
    try:
        mark = parse_mark(word.text)
    except ExpansionError as error:
        raise node.error(error.message, word) from None
    return mark.name if mark else None


def _from(node: Node) -> From:
    words = node.arguments
    name = ""
    if len(words) == 3 and words[1].text.lower() == "as":
        name = words[2].text.lower()
        if not _is_stage_name(name):
            raise node.error(
                f"invalid name for build stage: {gotext.quote(words[2].text)}, "
                "name can't start with a number or contain symbols",
                words[2],
            )
    elif len(words) != 1:
        hint = "FROM IMAGE [AS NAME]"
        if len(words) == 3:
            hint = f"write AS for {words[1].text}"
        raise node.error("FROM requires either one or three arguments", words[1] if words else None, hint=hint)
    flags = Flags(node)
    return From(node=node, base=words[0].text, name=name, platform=flags.text("platform"), comment=_comment(node, name))


def _is_stage_name(name: str) -> bool:
    allowed = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    return "a" <= name[:1] <= "z" and allowed.issuperset(name)


def _comment(node: Node, name: str) -> str:
    """The comment above that begins with the name it describes."""
    start = name + " "
    return next((line[len(start) :] for line in node.comments if name and line.startswith(start)), "")


def _onbuild(node: Node) -> Onbuild:
    child = node.child
    if child is None:
        raise node.error("ONBUILD requires at least one argument")
    Flags(node)
    if child.keyword == "ONBUILD":
        raise node.error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if child.keyword in NO_TRIGGERS:
        raise node.error(f"{child.keyword} isn't allowed as an ONBUILD trigger")
    expression = node.code[len("ONBUILD") :].lstrip()
    for doc in node.heredocs:
        expression += "\n" + doc.content + doc.name
    return Onbuild(node=node, expression=expression)


def _run(node: Node) -> Run:
    flags = Flags(node)
    mounts = tuple(word for word in node.flags if word.text.startswith("--mount="))
    for word in mounts:
        from trimaran.dockerfile.mounts import parse_mount

        try:
            parse_mount(word.text.partition("=")[2], lambda value: value)
        except DockerfileError as error:
            if "$" not in word.text or "variable expansion" in error.cause:
                raise node.error(error.cause, word, hint=error.hint) from None
    network = _choice(node, flags, "network", NETWORKS, "invalid network mode {}")
    security = _choice(node, flags, "security", SECURITY, "security {} is not valid")
    return Run(
        node=node,
        arguments=_texts(node),
        in_shell=not node.is_json,
        mounts=tuple(Word(word.text.partition("=")[2], word.start, word.end) for word in mounts),
        network=network,
        security=security,
        devices=flags.texts("device"),
    )


def _choice(node: Node, flags: Flags, name: str, known: tuple[str, ...], refusal: str) -> str:
    value = flags.text(name) or known[0]
    if value not in known:
        cause = refusal.format(gotext.quote(value))
        raise node.error(cause, flags.word(name), hint=did_you_mean(value, known))
    return value


def _cmd(node: Node) -> Cmd:
    Flags(node)
    return Cmd(node=node, arguments=_texts(node), in_shell=not node.is_json)


def _entrypoint(node: Node) -> Entrypoint:
    Flags(node)
    return Entrypoint(node=node, arguments=_texts(node), in_shell=not node.is_json)


def _healthcheck(node: Node) -> Healthcheck:
    _at_least_one(node)
    kind, *command = node.arguments
    upper = kind.text.upper()
    if upper == "NONE":
        if command:
            raise node.error("HEALTHCHECK NONE takes no arguments", command[0])
        return Healthcheck(node=node, test=("NONE",))
    flags = Flags(node)
    if upper != "CMD":
        raise node.error(
            f"Unknown type {gotext.quote(upper)} in HEALTHCHECK (try CMD)", kind, hint="HEALTHCHECK CMD … or NONE"
        )
    if not command:
        raise node.error("Missing command after HEALTHCHECK CMD", kind)
    form = "CMD" if node.is_json else "CMD-SHELL"
    return Healthcheck(
        node=node,
        test=(form, *(word.text for word in command)),
        interval=_interval(node, flags, "interval"),
        timeout=_interval(node, flags, "timeout"),
        start_period=_interval(node, flags, "start-period"),
        start_interval=_interval(node, flags, "start-interval"),
        retries=_retries(node, flags),
    )


def _interval(node: Node, flags: Flags, name: str) -> int:
    text = flags.text(name)
    if not text:
        return 0
    try:
        value = gotext.parse_duration(text)
    except ValueError as error:
        raise node.error(str(error), flags.word(name), hint="such as 30s, 1m30s or 500ms") from None
    if value and value < MIN_INTERVAL:
        raise node.error(f'Interval "{name}" cannot be less than 1ms', flags.word(name))
    return value


def _retries(node: Node, flags: Flags) -> int:
    text = flags.text("retries")
    if not text:
        return 0
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or int(digits) > 0x7FFFFFFF:
        raise node.error(f"--retries is no number: {text}", flags.word("retries"))
    if text.startswith("-") and int(digits):
        raise node.error(f"--retries cannot be negative ({text})", flags.word("retries"))
    return int(digits)


def _expose(node: Node) -> Expose:
    _at_least_one(node)
    Flags(node)
    return Expose(node=node, ports=tuple(sorted(_texts(node))))


def _volume(node: Node) -> Volume:
    _at_least_one(node)
    Flags(node)
    paths = tuple(word.text.strip() for word in node.arguments)
    if not all(paths):
        raise node.error("VOLUME specified can not be an empty string")
    return Volume(node=node, paths=paths)


def _arg(node: Node) -> Arg:
    _at_least_one(node)
    Flags(node)
    items: list[ArgItem] = []
    for word in node.arguments:
        name, equals, value = word.text.partition("=")
        if equals and not name:
            raise node.error("ARG names can not be blank", word)
        items.append(ArgItem(name, value if equals else None, _comment(node, name)))
    return Arg(node=node, items=tuple(items))


def _shell(node: Node) -> Shell:
    Flags(node)
    _at_least_one(node)
    if not node.is_json:
        raise node.error(
            f"SHELL requires the arguments to be in JSON form: {node.code}", hint='such as SHELL ["/bin/bash", "-c"]'
        )
    return Shell(node=node, arguments=_texts(node))


_BUILDERS: dict[str, Callable[[Node], Instruction]] = {
    "ADD": _copy,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": lambda node: Env(node=node, pairs=_pairs(node)),
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": lambda node: Label(node=node, pairs=_pairs(node)),
    "MAINTAINER": lambda node: Maintainer(node=node, text=_single(node)),
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": lambda node: StopSignal(node=node, signal=_single(node)),
    "USER": lambda node: User(node=node, user=_single(node)),
    "VOLUME": _volume,
    "WORKDIR": lambda node: Workdir(node=node, path=_single(node)),
}
