"""The programs that are compared, one file each, behind one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Build(NamedTuple):
    """One build in words that every tool understands."""

    context: Path
    destination: str  # "REGISTRY/NAME:TAG" to push to, or the path of an OCI archive
    pushed: bool
    platforms: tuple[str, ...]
    compression: str
    cache_to: str = ""  # a shared cache in a registry to write, whole (mode=max), or to read
    cache_from: str = ""


class Tool(Protocol):
    name: str

    def version(self) -> str:
        """What is measured, for the report. Raises NotThere where the tool cannot run here."""

    def forget(self) -> None:
        """Make the next build a cold one: nothing pulled, nothing cached."""

    def argv(self, build: Build) -> Sequence[str]: ...

    def env(self) -> dict[str, str]: ...

    def close(self) -> None:
        """Take away what this tool left on the machine."""


def cache_options(build: Build) -> list[str]:
    """As buildx has them."""
    options = ["--cache-to", f"type=registry,ref={build.cache_to},mode=max"] if build.cache_to else []
    return [*options, *(["--cache-from", f"type=registry,ref={build.cache_from}"] if build.cache_from else [])]


class NotThere(Exception):
    """The tool is not on this machine; says how to get it."""
