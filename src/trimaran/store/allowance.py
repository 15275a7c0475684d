"""How much memory and time one layer may take (T37): a few kilobytes of archive can ask for gigabytes and hours."""

from __future__ import annotations

from trimaran.errors import Corrupt
from trimaran.store.entries import Entry
from trimaran.tar.reader import Limits


class Allowance:
    """Counts what a layer makes us keep and do; Corrupt when that is more than `limits`.

    A node costs about 1 KiB of memory beside its text. What was replaced later counts too: it had to be made.
    """

    __slots__ = ("_limits", "_nodes", "_steps", "_text")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nodes = 0
        self._text = 0
        self._steps = 0

    def entry(self, entry: Entry) -> None:
        """One that the archive lists, with the text it holds."""
        xattrs = sum(len(name) + len(value) for name, value in entry.xattrs)
        self.name(entry.path, len(entry.target) + xattrs)

    def name(self, path: str, more: int = 0) -> None:
        """A path that is kept: of a link, of a deletion, of a folder that is only implied."""
        self._nodes += 1
        self._text += len(path) + more
        if self._nodes > self._limits.entries:
            raise Corrupt(f"read layer: {path[:80]!r}…: more than {self._limits.entries} files and folders")
        if self._text > self._limits.text:
            raise Corrupt(
                f"read layer: {path[:80]!r}…: its names, links and attributes are more than {self._limits.text} bytes"
            )

    def walk(self, path: str, steps: int) -> None:
        """Parts of a path that were looked at to find out where it leads."""
        self._steps += steps
        if self._steps > self._limits.steps:
            raise Corrupt(f"read layer: {path[:80]!r}…: its names lead through too many links and folders")
