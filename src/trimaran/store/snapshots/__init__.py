"""Snapshots: committed layer folders, and the ways to show a stack of them as one root file system.

A layer's folder is overlay-ready whoever made it: deletions are whiteouts, nothing in it is opaque. The members of the
family differ only in how a stack is shown and how changes are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from trimaran.aio import Cancel
from trimaran.store.database import Database
from trimaran.store.pins import Pins
from trimaran.store.snapshots.folders import SnapshotFolders


class RootStatus(msgspec.Struct, frozen=True):
    """What `/` itself is: the top folder of a stack shows its own metadata, so it has to be told."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class Mounted(Protocol):
    """A stack shown at `path`, for as long as the context that gave it lasts."""

    @property
    def path(self) -> str: ...

    def take(self, cancel: Cancel) -> str | None:
        """End the use of `path` and give a temp folder with all that changed since, overlay-ready; None: nothing did.

        At most once, only when mounted writable; nobody may use `path` any more.
        """
        ...


class Snapshots(Protocol):
    """For disk functions. One member per store, chosen by probe."""

    @property
    def name(self) -> str:
        """ "overlay" or "copy", as `inspect` shows it."""
        ...

    @property
    def refusal(self) -> str:
        """Why overlay was refused; "" when it works, or nothing was mounted yet."""
        ...

    @property
    def folders(self) -> SnapshotFolders: ...

    @property
    def limit(self) -> int:
        """How many folders one stack may have; longer ones are merged first."""
        ...

    def mount(
        self, cancel: Cancel, lowers: Sequence[str], *, root: RootStatus, writable: bool
    ) -> AbstractContextManager[Mounted]:
        """Show `lowers` (topmost first, at most `limit`); changes go to a temp folder, lost unless taken."""
        ...


def choose_snapshots(root: str, database: Database, pins: Pins, *, user_xattrs: bool) -> Snapshots:
    """The overlay member; it probes on its first mount and hands over to `copy` where overlay is refused."""
    from trimaran.store.snapshots.probed import ProbedSnapshots

    return ProbedSnapshots(SnapshotFolders(root, database, pins, user_xattrs=user_xattrs))
