"""Why a step was not cached: reasons as frozen values. Found by `engine/explain.py`, told by `cli/display/misses.py`.

Pure. Nothing a person wrote as a value is in a reason: arguments, variables and secrets are there by name alone.
"""

from __future__ import annotations

from typing import Literal

import msgspec

How = Literal["changed", "added", "removed"]
What = Literal["base", "source"]
"""What a step works on, or something else that it reads."""
FileHow = Literal["content", "mode", "owner", "kind", "target", "attributes", "added", "removed"]


class NeverBuilt(msgspec.Struct, frozen=True, tag="never-built"):
    """No earlier record is like it."""

    whole: bool = False
    """Nothing of its build file was built here before: no news, then."""
    platform: str = ""
    """Its build file was built here before, but never for this platform."""


class Unfinished(msgspec.Struct, frozen=True, tag="unfinished"):
    """It ran before, and nothing came of it that could be kept; `at` in nanoseconds since the epoch."""

    how: Literal["failed", "canceled"]
    at: int


class CacheOff(msgspec.Struct, frozen=True, tag="no-cache"):
    """`--no-cache`, or `--no-cache-filter` with its stage."""


class OpChange(msgspec.Struct, frozen=True, tag="op"):
    """What the step does: `what` is an aspect's kind ("command", "argument", "mount" …), `name` which of them."""

    what: str
    name: str = ""
    how: How = "changed"


class StepChange(msgspec.Struct, frozen=True, tag="step"):
    """The step whose result it reads gave another one than then."""

    step: str


class SourceChange(msgspec.Struct, frozen=True, tag="source"):
    """What it reads was fetched anew: `name` without its pin, and the pins ("sha256:…", a commit); "" is unknown."""

    name: str
    before: str
    after: str
    what: What = "base"


class SourceReplaced(msgspec.Struct, frozen=True, tag="replaced"):
    """It reads something else than then: `FROM alpine` became `FROM debian`."""

    before: str
    after: str
    what: What = "base"


class FileChange(msgspec.Struct, frozen=True):
    path: str
    how: FileHow


class FilesChanged(msgspec.Struct, frozen=True, tag="files"):
    """`changed` of the `total` paths it reads differ; `files` are the first of them, none when the list is gone."""

    source: str
    """The source path as it is named; "" for all."""
    total: int
    """Files that it reads or that are among the changed, and folders that are among these."""
    changed: int = 0
    files: tuple[FileChange, ...] = ()
    origin: str = ""
    """The step or image they are of; "" for the build context."""


class SecretChange(msgspec.Struct, frozen=True, tag="secret"):
    """A secret that is given with `cache-key=hash`; added, removed: since then, or no more."""

    id: str
    how: How = "changed"


class InputChange(msgspec.Struct, frozen=True, tag="input"):
    """Something else that it reads."""

    name: str


class Evicted(msgspec.Struct, frozen=True, tag="evicted"):
    """It was cached. `cause` as in `solver.protocols.Eviction`, `at` in nanoseconds since the epoch."""

    cause: str
    at: int
    limit: int = 0


class BytesGone(msgspec.Struct, frozen=True, tag="bytes-gone"):
    """There is a record, in `where` ("" is this store), but what it promises is not there any more."""

    where: str = ""


Reason = (
    NeverBuilt
    | Unfinished
    | CacheOff
    | OpChange
    | StepChange
    | SourceChange
    | SourceReplaced
    | FilesChanged
    | SecretChange
    | InputChange
    | Evicted
    | BytesGone
)
