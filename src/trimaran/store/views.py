"""What a step may read of an input: its tree, content digests, and where the bytes of its files are.

Two kinds of result have a view: a rootfs of the store, and a local folder that was only scanned (`sources/local`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from trimaran.store.entries import Origin
from trimaran.store.layers import LayerId
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import Store
from trimaran.store.tree import Tree


class View(Protocol):
    @property
    def tree(self) -> Tree: ...

    async def digests(self, paths: Collection[str]) -> Mapping[str, str]:
        """Content digests of files; hashes only what is not known yet."""
        ...

    async def origins(self, paths: Collection[str]) -> Mapping[str, Origin]:
        """Where the bytes of these files are; brings them to this machine when they are not."""
        ...


class RootfsView:
    """A view of layers in the store."""

    __slots__ = ("_rootfs", "_store", "tree")

    def __init__(self, store: Store, rootfs: Rootfs, tree: Tree) -> None:
        self._store = store
        self._rootfs = rootfs
        self.tree = tree

    async def digests(self, paths: Collection[str]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for layer, names in self._by_layer(paths).items():
            known = await self._store.layers.digests(layer, list(names))
            found.update((path, known[name]) for name, same in names.items() for path in same)
        return found

    async def origins(self, paths: Collection[str]) -> Mapping[str, Origin]:
        found: dict[str, Origin] = {}
        for layer, names in self._by_layer(paths).items():
            await self._store.layers.readable(layer)
            for name, same in names.items():
                found.update((path, self._store.layers.origin(layer, name)) for path in same)
        return found

    def _by_layer(self, paths: Collection[str]) -> dict[LayerId, dict[str, list[str]]]:
        """layer id → (file's first name in that layer → paths asked for)."""
        split: dict[LayerId, dict[str, list[str]]] = {}
        for path in paths:
            number, name = self.tree.inode(path)
            split.setdefault(self._rootfs.layers[number], {}).setdefault(name, []).append(path)
        return split
