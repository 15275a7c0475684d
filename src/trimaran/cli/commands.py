"""All commands by name, without importing any: the modules named here are loaded when their command runs.

Each module has `COMMAND` (its row of the flag table) and `run(values: Values, context: Invocation) -> int`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from trimaran.cli.options import Command

SUMMARY = "Multi-platform image builds without a daemon"
BUILD = "Build Commands"
IMAGES = "Image Commands"
BUILDERS = "Builder Commands"
SETUP = "Set-up Commands"

Row = tuple[str, str, str]
"""(module under trimaran.cli, section of the help, summary)"""

TABLE: Mapping[str, Row] = {
    "build": ("build", BUILD, "Start a build"),
    "logs": ("logs", BUILD, "Show what the steps of a build said"),
    "explain": ("explain", BUILD, "Say why steps of a build were not cached"),
    "verify": ("verify", BUILD, "Build an image again and compare it with what it was made into"),
    "dockerfile parse": ("dockerfile_parse", BUILD, "Show the instructions of a Dockerfile and where they stand"),
    "diff": ("diff", IMAGES, "Show what differs between two images"),
    "images": ("images", IMAGES, "List the images in Trimaran's store"),
    "push": ("push", IMAGES, "Push an image of the store to its registry"),
    "rmi": ("rmi", IMAGES, "Remove images from the store"),
    "run": ("run", IMAGES, "Run a command in an image"),
    "imagetools inspect": ("imagetools_inspect", IMAGES, "Show details of an image in the registry"),
    "login": ("login", IMAGES, "Log in to a registry"),
    "logout": ("logout", IMAGES, "Log out of a registry"),
    "ls": ("ls", BUILDERS, "List builder instances"),
    "inspect": ("inspect_builder", BUILDERS, "Inspect current builder instance"),
    "du": ("du", BUILDERS, "Disk usage"),
    "cache-mounts ls": ("cache_mounts_ls", BUILDERS, "List cache mounts"),
    "cache-mounts rm": ("cache_mounts_rm", BUILDERS, "Remove cache mounts"),
    "prune": ("prune", BUILDERS, "Remove build cache"),
    "fsck": ("fsck", BUILDERS, "Check the store for damage"),
    "binfmt": ("binfmt", SETUP, "Register emulators, so that images of other platforms can be built and run"),
    "plugin install": ("plugin_install", SETUP, "Make docker's build and buildx commands run on Trimaran"),
    "plugin uninstall": ("plugin_uninstall", SETUP, "Bring back the buildx that was there before"),
    "doctor": ("doctor", SETUP, "Check this machine and say how to mend it"),
    "settings": ("settings_command", SETUP, "Show the settings in force and where each comes from"),
    "completion": ("completion", SETUP, "Print a completion script for a shell"),
    "help": ("help_command", SETUP, "Help about any command"),
    "version": ("version", SETUP, "Show version information"),
}

GROUPS: Mapping[str, str] = {
    "dockerfile": "Look at Dockerfiles",
    "imagetools": "Commands to work on images in registry",
    "cache-mounts": "What RUN --mount=type=cache keeps between builds",
    "plugin": "Stand in for Docker's buildx plugin",
}

EMBEDDED_BUILDERS = frozenset({"", "default", "trimaran"})
"""Names of `--builder` that mean the embedded one; docker says `default` for `docker build`."""

ALIASES: Mapping[str, str] = {"b": "build"}

ANYWHERE = frozenset(
    {
        *("build", "completion", "dockerfile parse", "help", "imagetools inspect", "login", "logout", "settings"),
        "version",
    }
)
"""Commands that run on systems other than Linux too; `build` there only answers questions about the Dockerfile."""

UNSUPPORTED: Mapping[str, str] = {
    "create": "the embedded builder needs none to be created: build right away",
    "use": "the embedded builder is always the one in use",
    "rm": "the embedded builder has nothing to remove but its store: `prune`, `rmi`",
    "stop": "the embedded builder runs only while a command does",
    "imagetools create": "build all platforms at once with `build --platform A,B --push`",
    "bake": "build the targets one by one with `build`",
    "history": "the logs of earlier builds are shown by `logs`",
    "dial-stdio": "the embedded builder has no daemon to connect to",
    "policy": "no policy is applied; pin what you use by digest",
    "debug": "use it with Docker's own buildx",
    "dap": "use it with Docker's own buildx",
}
"""Commands of buildx that are not here, and what to do instead."""


def find(words: list[str]) -> tuple[str, int]:
    """The name of the command `words` begin with and how many words it takes; ("", 0) when there is none."""
    if not words:
        return "", 0
    first = ALIASES.get(words[0], words[0])
    if first in GROUPS and len(words) > 1:
        name = f"{first} {words[1]}"
        return (name, 2) if name in TABLE else ("", 0)
    return (first, 1) if first in TABLE else ("", 0)


def runnable() -> list[str]:
    """The names of the commands that run on this system."""
    return [name for name in TABLE if sys.platform == "linux" or name in ANYWHERE]


def load(name: str) -> ModuleType:
    return import_module(f"trimaran.cli.{TABLE[name][0]}")


def command(name: str) -> Command:
    found: Command = load(name).COMMAND
    return found


def sections() -> list[tuple[str, list[tuple[str, str]]]]:
    """The rows of the root's help, groups as one row each."""
    pages: dict[str, list[tuple[str, str]]] = {}
    for name in runnable():
        _, section, summary = TABLE[name]
        group = name.partition(" ")[0]
        row = (group, GROUPS[group]) if group in GROUPS else (name, summary)
        rows = pages.setdefault(section, [])
        if row not in rows:
            rows.append(row)
    return list(pages.items())


def subcommands(group: str) -> list[tuple[str, str]]:
    return [(name.partition(" ")[2], TABLE[name][2]) for name in runnable() if name.startswith(group + " ")]
