"""Blobs that save time and are needed by nobody yet: made ahead, they give way to whatever a build cannot do without.

Law: what is spare is never the only place of anything, so it may go at any moment. Who needs such a blob says so first
(`need`), and is told when it was gone by then; who works on one is told at its next piece. For any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from trimaran.digest import Digest


class Writing(Protocol):
    """A spare blob in the making."""

    def give_up(self) -> int:
        """Free what was written, and fail at the next piece. Bytes."""
        ...


class Spare:
    """`forget` takes a blob away and says how many bytes that freed."""

    def __init__(self, forget: Callable[[Digest], int]) -> None:
        self._forget = forget
        self._guard = threading.RLock()
        self._offered: set[Digest] = set()
        self._needed: set[Digest] = set()
        self._gone: set[Digest] = set()
        self._writing: set[Writing] = set()

    def offer(self, digest: Digest) -> None:
        """A blob that was made ahead, unless somebody needs it already."""
        with self._guard:
            if digest not in self._needed:
                self._offered.add(digest)

    def need(self, digest: Digest) -> bool:
        """From now on it stays. False: it has just given way, and is to be made again."""
        with self._guard:
            self._needed.add(digest)
            self._offered.discard(digest)
            if digest in self._gone:
                self._gone.discard(digest)
                return False
            return True

    def keep(self, digests: Iterable[Digest]) -> None:
        """Those that are still there are needed from now on."""
        with self._guard:
            for digest in digests:
                self._needed.add(digest)
                self._offered.discard(digest)

    def begin(self, writing: Writing) -> None:
        with self._guard:
            self._writing.add(writing)

    def end(self, writing: Writing) -> None:
        with self._guard:
            self._writing.discard(writing)

    def give_way(self) -> int:
        """Let all of it go; bytes freed. 0 when there was nothing."""
        with self._guard:
            freed = sum(writing.give_up() for writing in self._writing)
            self._writing.clear()
            freed += sum(self._forget(digest) for digest in self._offered)
            self._gone |= self._offered
            self._offered.clear()
            return freed
