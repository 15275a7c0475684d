"""Where inputs of a build come from: one file per URL scheme of a source op."""

from __future__ import annotations

from typing import Protocol

from trimaran.events import Progress
from trimaran.graph.ops import SourceOp
from trimaran.platforms import Platform
from trimaran.solver.protocols import Result


class Fetched(Protocol):
    """A source's result, and whether anything had to be done for it."""

    @property
    def result(self) -> Result: ...

    @property
    def served(self) -> bool: ...

    @property
    def cache_keys(self) -> tuple[str, ...]:
        """What BuildKit calls this very content of the source (`CacheKey`): shared caches are entered by it.

        None for a client's folder: only what is read of it counts.
        """
        ...


class Source(Protocol):
    async def fetch(self, op: SourceOp, platform: Platform | None, progress: Progress) -> Fetched:
        """The source as it is now (`local`) or as `op` pins it (all others)."""
        ...


class LocalFiles(Protocol):
    """The client's folders by name; the embedded driver gives its own, a BuildKit session gives the client's."""

    def folder(self, name: str) -> str:
        """Absolute path of the folder served as `local://name`; NotFound for a name nobody gave."""
        ...
