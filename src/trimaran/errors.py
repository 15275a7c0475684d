"""The errors a person can act on; anything else is a bug and shows a traceback.

Wording: `verb object: cause`, lower case, no full stop; the hint names the fix. Narrower kinds subclass these beside
the code that raises them. Exit codes are set in one table (`cli/main.py`), gRPC codes in another (`server/`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in a text: line from 1, character (column) from 0, as BuildKit's pb.Position."""

    line: int
    character: int = 0


class Range(msgspec.Struct, frozen=True, order=True):
    """From `start` up to and including `end`'s line; `end.character` is exclusive (0 with start 0: whole lines)."""

    start: Position
    end: Position


class Location(msgspec.Struct, frozen=True):
    """Where in a source file something is: what an error's snippet shows (BuildKit pb.Location + SourceInfo)."""

    filename: str
    source: bytes
    ranges: tuple[Range, ...]
    language: str = "Dockerfile"


class TrimaranError(Exception):
    """`message` says what failed on which object and why; `hint` what to do; `where` the lines that caused it."""

    def __init__(self, message: str, *, hint: str = "", where: Location | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        return self.message


class UsageError(TrimaranError):
    """Options, files or settings of the user are wrong."""


class NotFound(TrimaranError):
    """A named thing is not there."""


class Conflict(TrimaranError):
    """A thing is in a state that forbids the request."""


class Denied(TrimaranError):
    """Whoever owns the thing said no (credentials, permissions, policy)."""


class Unavailable(TrimaranError):
    """The thing may be there later: the same request may be tried again."""


class Corrupt(TrimaranError):
    """Bytes are not what their digest, size or format promised."""


class Unsupported(TrimaranError):
    """Known to buildx or BuildKit, not (yet) done here, or not possible on this machine; the hint names the way out."""


class Cancelled(TrimaranError):
    """The user or a sibling's failure stopped the work (exit code 130)."""


NOT_CACHED = "it is not cached"
"""How the message of a `NotCached` ends."""


class NotCached(TrimaranError):
    """A step would have to run where the cache was to serve all (`--fail-on-miss`). `reasons` are of `misses.py`."""

    def __init__(self, message: str, *, reasons: tuple[object, ...]) -> None:
        super().__init__(message)
        self.reasons = reasons


class StepFailed(TrimaranError):
    """A process of the build said no.

    `exit_code` is its own (128+signal when killed); `vertex` names the step; `tail` holds its last log lines.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: int,
        vertex: str = "",
        tail: tuple[str, ...] = (),
        hint: str = "",
        where: Location | None = None,
    ) -> None:
        super().__init__(message, hint=hint, where=where)
        self.exit_code = exit_code
        self.vertex = vertex
        self.tail = tail


@contextmanager
def located(where: Location | None) -> Iterator[None]:
    """Give an error that passes upwards its place in the source, unless it has a nearer one already."""
    try:
        yield
    except TrimaranError as error:
        if error.where is None:
            error.where = where
        raise
