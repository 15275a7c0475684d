"""What every name that may change means in one build: by an earlier build's lock, and noted for the next one.

A tag, a URL without a checksum and a git ref without a commit may each be something else tomorrow. A lock says what
they were, by kind and name; names hold no credentials, so that the file may be shared.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import msgspec

from trimaran.errors import NotFound
from trimaran.registry.urls import Url

Kind = Literal["image", "http", "git"]
IMAGE: Kind = "image"
HTTP: Kind = "http"
GIT: Kind = "git"


class LockEntry(msgspec.Struct, frozen=True, order=True):
    """`value`: the digest of an image's index or manifest, of a file, or a commit's (or annotated tag's) name."""

    kind: Kind
    name: str
    value: str


class LockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`strict`: what no entry names is an error, not a question to the network."""

    entries: tuple[LockEntry, ...] = ()
    strict: bool = False


class Lock:
    """One build's lock: `value` before a question, `note` after its answer."""

    def __init__(self, request: LockRequest | None = None) -> None:
        request = request or LockRequest()
        self._strict = request.strict
        self._given = {(entry.kind, entry.name): entry.value for entry in request.entries}
        self._used: dict[tuple[Kind, str], str] = {}

    def value(self, kind: Kind, name: str) -> str:
        """What `name` is locked to, "" for nothing; NotFound when nothing is not allowed."""
        found = self._given.get((kind, name), "")
        if not found and self._strict:
            raise NotFound(
                f"read lock: it does not say what {name} is",
                hint="build once with --lock and without --locked, look at what changed in the file, and keep it",
            )
        return found

    def note(self, kind: Kind, name: str, value: str) -> None:
        self._used[kind, name] = str(value)

    @property
    def used(self) -> tuple[LockEntry, ...]:
        """All that this build asked for, sorted."""
        return tuple(sorted(LockEntry(kind, name, value) for (kind, name), value in self._used.items()))


def http_name(url: Url) -> str:
    """A URL's name in a lock: as it is shown, told apart by a digest where showing leaves something out."""
    whole = str(url)
    if url.redacted == whole:
        return whole
    return f"{url.redacted}#{sha256(whole.encode()).hexdigest()[:16]}"
