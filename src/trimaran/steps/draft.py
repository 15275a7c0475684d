"""A layer in the making: changes on top of a tree, until they become an entry list.

Law: the tree below is never touched and never looked at through the file system: destinations, symlinks and what is
replaced are decided on entry lists alone, so no path of an image can lead to the host.
"""

from __future__ import annotations

from trimaran.errors import Conflict, UsageError
from trimaran.store.entries import FOLDER, SYMLINK, WHITEOUT, Entry, EntryList, Origin
from trimaran.store.tree import Tree

_LINKS = 255


class Draft:
    """Changes by path. Parents of a put path must exist; `make_folders` makes them."""

    __slots__ = ("_base", "_children", "entries", "origins")

    def __init__(self, base: Tree) -> None:
        self._base = base
        self.entries: dict[str, Entry] = {}
        self.origins: dict[str, Origin] = {}
        self._children: dict[str, set[str]] | None = None
        """Made when somebody asks: few do, and of many files it is large."""

    def get(self, path: str) -> Entry | None:
        """The entry at `path` itself, symlinks not followed; None when there is none."""
        own = self.entries.get(path)
        if own is not None:
            return None if own.kind == WHITEOUT else own
        parent = path
        while parent:
            parent = parent.rpartition("/")[0]
            above = self.entries.get(parent)
            if above is not None and above.kind != FOLDER:
                return None
        return self._base.get(path)

    def is_folder(self, path: str) -> bool:
        entry = self.get(path)
        return path == "" or (entry is not None and entry.kind == FOLDER)

    def children(self, path: str) -> list[str]:
        """Names in a folder, sorted."""
        own = self._index().get(path, set())
        names = {name for name in own if self.get(_join(path, name)) is not None}
        if self._base.is_folder(path) and self.is_folder(path):
            names.update(n for n in self._base.children(path) if self.get(_join(path, n)) is not None)
        return sorted(names)

    def resolve(self, path: str, *, follow_last: bool = True, root: str = "") -> str:
        """`path` with every symlink followed inside the root; parts that don't exist are kept as they are.

        With `root`, a folder, that is what `/` and the end of all `..` mean; the result begins with it.
        """
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                if done:
                    done.pop()
                continue
            entry = self.get(_join(root, "/".join([*done, part])))
            if entry is None or entry.kind != SYMLINK or (not todo and not follow_last):
                done.append(part)
                continue
            links += 1
            if links > _LINKS:
                raise UsageError(f"follow /{path}: more than {_LINKS} symbolic links, or a loop of them")
            if entry.target.startswith("/"):
                done = []
            todo.extend(p for p in reversed(entry.target.split("/")) if p not in ("", "."))
        return _join(root, "/".join(done)) if done else root

    def put(self, entry: Entry, origin: Origin | None = None) -> None:
        """Add or replace what is at `entry.path`; a folder over a folder only changes the folder itself."""
        path = entry.path
        present = self.get(path)
        if entry.kind != FOLDER and present is not None and present.kind == FOLDER:
            raise Conflict(f"replace folder /{path}: it cannot become a file")
        if entry.kind == FOLDER and present is not None and present.kind != FOLDER:
            raise Conflict(f"copy a folder onto /{path}: it is no folder")
        was_removed = self.entries.get(path) is not None and self.entries[path].kind == WHITEOUT
        self._set(entry)
        if origin is not None:
            self.origins[path] = origin
        else:
            self.origins.pop(path, None)
        if was_removed and entry.kind == FOLDER and self._base.is_folder(path):
            for name in self._base.children(path):
                self._set(Entry(_join(path, name), WHITEOUT))

    def remove(self, path: str) -> None:
        """Take away `path` and all below it."""
        children = self._index()
        pending = [_join(path, name) for name in children.pop(path, ())]
        while pending:
            known = pending.pop()
            pending.extend(_join(known, name) for name in children.pop(known, ()))
            self.entries.pop(known, None)
            self.origins.pop(known, None)
        self.origins.pop(path, None)
        if self._base.get(path) is not None:
            self._set(Entry(path, WHITEOUT))
        else:
            self.entries.pop(path, None)

    def make_folders(self, path: str, *, mode: int, uid: int, gid: int, mtime: int) -> None:
        """Make `path` and its missing parents, as `mkdir -p`; symlinks on the way must have been resolved."""
        done = ""
        for part in path.split("/") if path else []:
            done = _join(done, part)
            entry = self.get(done)
            if entry is None:
                self.put(Entry(done, FOLDER, mode, uid, gid, mtime))
            elif entry.kind != FOLDER:
                raise Conflict(f"make folder /{path}: /{done} is no folder")

    def fork(self) -> Draft:
        """A draft with the same changes that can go its own way."""
        other = Draft(self._base)
        other.entries = dict(self.entries)
        other.origins = dict(self.origins)
        return other

    def finish(self) -> EntryList:
        """The layer: what changed, and folders above it that an unpacker must not take for plain ones."""
        made = EntryList.of(self.entries.values())
        parents = self._base.special_parents(made)
        return EntryList.of([*made, *parents]) if parents else made

    def _set(self, entry: Entry) -> None:
        self.entries[entry.path] = entry
        if self._children is not None:
            _add_name(self._children, entry.path)

    def _index(self) -> dict[str, set[str]]:
        """Folder → names in it that changed, and of folders on the way to them."""
        if self._children is None:
            self._children = {}
            for path in self.entries:
                _add_name(self._children, path)
        return self._children


def _add_name(children: dict[str, set[str]], path: str) -> None:
    while path:
        parent, _, name = path.rpartition("/")
        names = children.setdefault(parent, set())
        if name in names:
            return
        names.add(name)
        path = parent


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
