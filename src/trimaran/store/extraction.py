"""The snapshot folder that an archive is being unpacked into, node by node, in whatever order they come.

Law: the paths given here are resolved already: no symlink is on them, and one that is there all the same is refused by
the kernel. The folders' own metadata comes last, when nothing changes their times any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from trimaran.linux.paths import open_beneath
from trimaran.store.entries import FOLDER, WHITEOUT, Entry, EntryList, implied, order
from trimaran.store.nodes import OPEN_FOLDER, Nodes, remove


class Extraction:
    """The snapshot folder being written. Paths given here are resolved: no symlink is on them."""

    __slots__ = ("_near", "_near_fd", "_root", "nodes")

    def __init__(self, root: int, nodes: Nodes) -> None:
        self._root = root
        self.nodes = nodes
        self._near = ""
        self._near_fd = -1

    def create(self, path: str) -> int:
        above, _, name = path.rpartition("/")
        return self.nodes.create(self._open(above), name)

    def other(self, path: str, entry: Entry) -> None:
        above, _, name = path.rpartition("/")
        self.nodes.other(self._open(above), name, entry)

    def folder(self, path: str) -> None:
        self._open(path)

    def link(self, source: str, path: str) -> None:
        above, _, name = source.rpartition("/")
        fd = open_beneath(self._root, above, OPEN_FOLDER)
        try:
            folder, _, new = path.rpartition("/")
            self.nodes.link(fd, name, self._open(folder), new)
        except FileNotFoundError:
            if source not in self.nodes.skipped:
                raise
            self.nodes.skipped.append(path)
        finally:
            os.close(fd)

    def remove(self, path: str) -> None:
        above, _, name = path.rpartition("/")
        self._forget()
        remove(self._open(above), name)

    def finish(self, entries: EntryList) -> None:
        """Deletions, then the metadata of all folders, the deepest first: nothing changes their times after that."""
        for entry in entries:
            if entry.kind == WHITEOUT:
                self.other(entry.path, entry)
        for path in _folders(entries):
            fd = self._open(path)
            if path in entries.opaque:
                self.nodes.opaque(fd)
            self.nodes.finish(fd, entries.get(path) or implied(path))

    def _open(self, path: str) -> int:
        """The folder, made with those above it where missing."""
        if not path:
            return self._root
        if path != self._near:
            try:
                fd = open_beneath(self._root, path, OPEN_FOLDER)
            except FileNotFoundError:
                fd = self._make(path)
            self._forget()
            self._near, self._near_fd = path, fd
        return self._near_fd

    def _make(self, path: str) -> int:
        fd = os.dup(self._root)
        for part in path.split("/"):
            try:
                below = os.open(part, OPEN_FOLDER, dir_fd=fd)
            except FileNotFoundError:
                below = self.nodes.folder(fd, part)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _forget(self) -> None:
        if self._near_fd >= 0:
            os.close(self._near_fd)
        self._near, self._near_fd = "", -1

    def close(self) -> None:
        self._forget()


def _folders(entries: EntryList) -> Iterable[str]:
    listed = {entry.path for entry in entries if entry.kind == FOLDER}
    return sorted(listed.union(entries.children, {""}), key=order, reverse=True)
