"""How Trimaran was called: as itself or as Docker's `buildx` plugin, with which global flags and environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import msgspec

from trimaran.cli.options import FlagError

PLUGIN_WORD = "docker-buildx"
"""As first argument (or as the program's name): what follows is what docker gives its plugin."""

_DOCKER_VALUES = {
    "--config": "DOCKER_CONFIG",
    "--context": "DOCKER_CONTEXT",
    "-c": "DOCKER_CONTEXT",
    "--host": "DOCKER_HOST",
    "-H": "DOCKER_HOST",
    "--log-level": "",
    "-l": "",
    "--tlscacert": "",
    "--tlscert": "",
    "--tlskey": "",
}
_DOCKER_SWITCHES = frozenset({"--debug", "-D", "--tls", "--tlsverify"})


CI_VARIABLES = frozenset({"GITHUB_ACTIONS", "GITLAB_CI", "TRIMARAN_LOG_GROUPS"})


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    program: str = "trimaran"
    """What the user typed before the command: `trimaran` or `docker buildx`."""
    plugin: bool = False
    words: tuple[str, ...] = ()
    """All of `sys.argv`."""
    argv: tuple[str, ...] = ()
    """The words after the program, docker's own flags taken off."""
    environment: dict[str, str] = {}
    """As it was at the start, plus what docker's global flags say."""
    debug: bool = False

    def out(self, text: str) -> None:
        sys.stdout.write(text)

    def out_bytes(self, data: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()

    def show(self, text: str) -> None:
        """Standard output, for people: in a CI server's log nothing in it is a command."""
        self.out(for_log(text, self.environment))

    def err(self, text: str) -> None:
        self.mark(for_log(text, self.environment))

    def mark(self, text: str) -> None:
        """Standard error as `err`, for text that a CI server is to obey."""
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()


def for_log(text: str, environment: Mapping[str, str]) -> str:
    """`text` for standard error, with nothing in it that a CI server would take for a command."""
    if CI_VARIABLES.isdisjoint(environment):
        return text
    from trimaran.cli.display.ci_log import harmless

    return harmless(text, environment)


def read(argv: Sequence[str], environment: dict[str, str]) -> Invocation:
    """From `sys.argv` to an Invocation (reference §1.2). FlagError for a global flag docker has not."""
    program = os.path.basename(argv[0])
    words = list(argv[1:])
    if words[:1] == [PLUGIN_WORD]:
        program, words = PLUGIN_WORD, words[1:]
    if program != PLUGIN_WORD:
        return Invocation(words=tuple(argv), argv=tuple(words), environment=environment)
    if "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND" not in environment and words[:1] != ["buildx"]:
        return Invocation(program=PLUGIN_WORD, words=tuple(argv), argv=tuple(words), environment=environment)
    rest, said = _docker_flags(words)
    return Invocation(
        program="docker buildx",
        plugin=True,
        words=tuple(argv),
        argv=tuple(rest[1:] if rest[:1] == ["buildx"] else rest),
        environment={**environment, **said},
        debug="DEBUG" in said,
    )


def _docker_flags(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Take docker's global flags off the front; what they say as environment variables, which all rooms read."""
    said: dict[str, str] = {}
    while words and words[0].startswith("-"):
        flag, equals, value = words.pop(0).partition("=")
        if flag in _DOCKER_SWITCHES:
            if flag in {"--debug", "-D"} and value not in {"false", "0"}:
                said["DEBUG"] = "1"
            if flag == "--tlsverify" and value not in {"false", "0"}:
                said["DOCKER_TLS_VERIFY"] = "1"
            continue
        if flag not in _DOCKER_VALUES:
            raise FlagError(f"unknown flag: {flag}")
        if not equals:
            if not words:
                raise FlagError(f"flag needs an argument: {flag}")
            value = words.pop(0)
        if _DOCKER_VALUES[flag]:
            said[_DOCKER_VALUES[flag]] = value
    return words, said
