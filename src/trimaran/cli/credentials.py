"""`--secret` and `--ssh` as buildx writes them (reference §1.3): where things are, never what is in them."""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.cli.attributes import Attributes
from trimaran.errors import UsageError
from trimaran.sources.given import AgentSource, SecretSource


def secrets(texts: Sequence[str]) -> tuple[SecretSource, ...]:
    """`id=NAME[,type=file|env][,src=PATH][,env=VARIABLE][,cache-key=hash]`; the last one of an id counts."""
    found = {source.id: source for source in map(_secret, texts)}
    return tuple(found.values())


def _secret(text: str) -> SecretSource:
    given = Attributes.parse("secret", text)
    kind = given.choice("type", ("", "file", "env"), "")
    identifier = given.text("id")
    path = given.text("src") or given.text("source")
    given.text("source")
    variable = given.text("env")
    in_key = given.text("cache-key")
    given.finish("a secret")
    if in_key not in ("", "hash"):
        raise UsageError(f'read --secret "{text}": unknown cache-key "{in_key}"', hint="known: hash")
    if not identifier:
        raise UsageError(f'read --secret "{text}": no id', hint="write --secret id=NAME,src=FILE or …,env=VARIABLE")
    if kind == "env" and not variable:
        path, variable = "", path or identifier
    if kind == "file" and not path:
        path = identifier
    if path and variable:
        raise UsageError(f'read --secret "{text}": both a file and a variable', hint="give src=FILE or env=VARIABLE")
    return SecretSource(identifier, path, variable, in_key=bool(in_key))


def agents(texts: Sequence[str]) -> tuple[AgentSource, ...]:
    """`default`, or `ID[=SOCKET|KEY[,KEY…]]`; the last one of an id counts."""
    found: dict[str, AgentSource] = {}
    for text in texts:
        identifier, equals, paths = text.partition("=")
        if not identifier or (equals and not paths):
            raise UsageError(f'read --ssh "{text}": no name or no path', hint="write --ssh default or --ssh ID=SOCKET")
        found[identifier] = AgentSource(identifier, tuple(path for path in paths.split(",") if path))
    return tuple(found.values())
