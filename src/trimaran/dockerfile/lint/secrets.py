"""Secrets in ARG and ENV, where everyone who has the image can read them."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile import gotext
from trimaran.dockerfile.instructions import Arg, Env
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.state import StageState, Target
from trimaran.dockerfile.words import ExpansionError

SECRETS_USED_IN_ARG_OR_ENV = Rule(
    name="SecretsUsedInArgOrEnv",
    description="Sensitive data should not be used in the ARG or ENV commands",
    message="Do not use ARG or ENV instructions for sensitive data ({keyword} {name})",
)
_TELLING = frozenset(
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"]
)
_HARMLESS = frozenset(("public", "file", "version"))


def secret_in_arg(item: Arg, _state: StageState, _target: Target) -> Iterator[Finding]:
    for one in item.items:
        if is_telling(one.name):
            yield SECRETS_USED_IN_ARG_OR_ENV.found(item.node, keyword="ARG", name=gotext.quote(one.name))


def secret_in_env(item: Env, state: StageState, target: Target) -> Iterator[Finding]:
    for pair in item.pairs:
        try:
            name = target.expander.word(pair.name, state.env)
        except ExpansionError:
            continue
        if is_telling(name):
            yield SECRETS_USED_IN_ARG_OR_ENV.found(item.node, keyword="ENV", name=gotext.quote(name))


def is_telling(name: str) -> bool:
    """One of the words between the underscores says that it is secret, and none that it is not."""
    words = name.lower().split("_")
    return not _TELLING.isdisjoint(words) and _HARMLESS.isdisjoint(words)
