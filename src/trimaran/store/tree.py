"""The merged view of a stack of layers: what a rootfs has at a path, without unpacking anything.

Pure. Building a tree costs nothing; a path costs a few dictionary look-ups per layer once, and is then remembered.
The rules are overlayfs's: a whiteout, a non-folder or an opaque folder ends what lower layers say about a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from trimaran.errors import NotFound, UsageError
from trimaran.store.entries import FILE, FOLDER, HARDLINK, SYMLINK, WHITEOUT, Entry, EntryList, implied, is_plain, order

MAX_LINKS = 255
"""Symlinks one look-up follows before it is called a loop (Linux stops at 40; images are resolved in the same way)."""


class _Node:
    """One visible path: its entry, the layer that gave it, and the layers (top first) whose content is merged in it."""

    __slots__ = ("entry", "layer", "merged")

    def __init__(self, entry: Entry, layer: int, merged: tuple[int, ...]) -> None:
        self.entry = entry
        self.layer = layer
        self.merged = merged


class Tree:
    __slots__ = ("_children", "_has_links", "_nodes", "layers")

    def __init__(self, layers: tuple[EntryList, ...], root: _Node | None = None) -> None:
        """`root`: where it is known already what is at ""."""
        self.layers = layers
        self._nodes: dict[str, _Node | None] = {"": root or self._root()}
        self._children: dict[str, list[str]] = {}
        self._has_links: bool | None = None

    @classmethod
    def stack(cls, layers: Sequence[EntryList]) -> Tree:
        """Lowest layer first. With no layer at all there is still the root folder."""
        return cls(tuple(layers))

    def on_top(self, layer: EntryList) -> Tree:
        """The view with one layer more, which costs the same however many there are."""
        below, top = self._nodes[""], len(self.layers)
        assert below is not None
        merged = (top,) if "" in layer.opaque else (top, *below.merged)
        root = _Node(layer.root or below.entry, below.layer if layer.root is None else top, merged)
        return Tree((*self.layers, layer), root)

    def anew(self) -> Tree:
        """The same view, of which nothing was asked yet: what is remembered of a tree may be large."""
        return Tree(self.layers, self._nodes[""])

    def get(self, path: str) -> Entry | None:
        """What is at `path`, with no symlink followed on the way; hard links come as the files they are."""
        node = self._node(path)
        return node.entry if node else None

    def is_folder(self, path: str) -> bool:
        node = self._node(path)
        return node is not None and node.entry.kind == FOLDER

    def layer(self, path: str) -> int:
        """Index in the stack of the layer whose entry is visible; NotFound when nothing is there.

        For an implied folder: the topmost layer that has something in it; -1 for a root that nobody lists.
        """
        node = self._node(path)
        if node is None:
            raise NotFound(f"find {'/' + path!r}: no such file or folder")
        return node.layer

    @property
    def has_links(self) -> bool:
        """Whether any layer has hard links."""
        if self._has_links is None:
            self._has_links = any(entry.kind == HARDLINK for layer in self.layers for entry in layer)
        return self._has_links

    def inode(self, path: str) -> tuple[int, str]:
        """Names the file at `path` itself: the number of its layer and the file's first name there. NotFound."""
        number = self.layer(path)
        listed = self.layers[number].get(path)
        return number, listed.target if listed is not None and listed.kind == HARDLINK else path

    def children(self, path: str) -> list[str]:
        """Names in the folder, sorted as bytes; empty for what is no folder or not there. Do not change the list."""
        known = self._children.get(path)
        if known is None:
            known = self._children[path] = self._list(path)
        return known

    def walk(self, path: str = "") -> Iterator[Entry]:
        """`path` itself and all below it in tree order; nothing when it is not there. The root comes as entry ""."""
        entry = self.get(path)
        if entry is None:
            return
        yield entry
        listed = self.layers[0].below(path) if len(self.layers) == 1 and entry.kind == FOLDER else None
        if listed is not None:
            yield from listed
            return
        prefix = f"{path}/" if path else ""
        pending = [iter([prefix + name for name in self.children(path)])]
        while pending:
            for child in pending[-1]:
                entry = self.get(child)
                if entry is None:
                    continue
                yield entry
                if entry.kind == FOLDER:
                    pending.append(iter([f"{child}/{name}" for name in self.children(child)]))
                    break
            else:
                pending.pop()

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        """The path without symlinks, `.`, `..`: never above the root. Parts that are not there are kept as written.

        `path` and link targets may be absolute or relative (to the root, or to the link's folder). UsageError for a
        loop, as ELOOP would be.
        """
        pending = _parts(path)[::-1]
        done: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                if done:
                    done.pop()
                continue
            done.append(part)
            if not pending and not follow_last:
                break
            entry = self.get("/".join(done))
            if entry is None or entry.kind != SYMLINK:
                continue
            links += 1
            if links > MAX_LINKS:
                raise UsageError(f"resolve {path!r}: too many levels of symbolic links")
            done.pop()
            if entry.target.startswith("/"):
                done.clear()
            pending.extend(_parts(entry.target)[::-1])
        return "/".join(done)

    def special_parents(self, entries: EntryList) -> list[Entry]:
        """Folders of this view that `entries`, a layer to come above it, implies but should list.

        Some unpackers (Docker's overlay2 store) make implied folders anew, as 0755 of root, over what lower layers
        have: /tmp would lose its 1777. So folders that are not plain are listed again, as BuildKit lists all parents.
        """
        above = {path: self.get(path) for path in entries.folders() if path} if self.layers else {}
        special = [entry for entry in above.values() if entry and entry.kind == FOLDER and not is_plain(entry)]
        listed = {entry.path for entry in entries if entry.kind == FOLDER} if special else set()
        return [entry for entry in special if entry.path not in listed]

    def _root(self) -> _Node:
        entry, layer, merged = implied(""), -1, []
        hidden = False
        for index in range(len(self.layers) - 1, -1, -1):
            listed = self.layers[index].root
            if listed is not None and layer < 0:
                entry, layer = listed, index
            if not hidden:
                merged.append(index)
            hidden = hidden or "" in self.layers[index].opaque
        return _Node(entry, layer, tuple(merged))

    def _node(self, path: str) -> _Node | None:
        try:
            return self._nodes[path]
        except KeyError:
            if not self.layers:
                return None
        missing = [path]
        while (folder := missing[-1].rpartition("/")[0]) not in self._nodes:
            missing.append(folder)
        above = self._nodes[folder]
        for step in reversed(missing):
            above = self._nodes[step] = self._merge(step, above) if above is not None else None
        return above

    def _merge(self, path: str, folder: _Node) -> _Node | None:
        entry: Entry | None = None
        layer = -1
        merged: list[int] = []
        hidden = False  # below an opaque folder nothing is merged, but its metadata may still come from a lower layer
        for index in folder.merged:
            listed = self.layers[index].get(path)
            if listed is None:
                if path not in self.layers[index].children:
                    continue
            elif listed.kind != FOLDER:
                if not merged and listed.kind != WHITEOUT:
                    return _Node(self._as_file(listed, index), index, ())
                break
            elif entry is None:
                entry, layer = listed, index
            if not hidden:
                merged.append(index)
            hidden = hidden or path in self.layers[index].opaque
            if hidden and entry is not None:
                break
        if not merged:
            return None
        return _Node(entry or implied(path), layer if entry else merged[0], tuple(merged))

    def _as_file(self, entry: Entry, index: int) -> Entry:
        if entry.kind != HARDLINK:
            return entry
        file = self.layers[index].get(entry.target)
        assert file is not None, "EntryList.of checked that hard links have their file"
        return msgspec.structs.replace(file, path=entry.path, kind=FILE)

    def _list(self, path: str) -> list[str]:
        node = self._node(path)
        if node is None:
            return []
        names: set[str] = set()
        for index in node.merged:
            names.update(self.layers[index].children.get(path, ()))
        prefix = f"{path}/" if path else ""
        return sorted((name for name in names if self._node(prefix + name) is not None), key=order)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]
