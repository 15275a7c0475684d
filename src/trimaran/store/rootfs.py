"""A rootfs is a stack of layer ids: a promise. Its tree, its files and its mount are made when somebody asks."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import NotFound
from trimaran.events import Progress
from trimaran.store.entries import EMPTY, FILE, EntryList
from trimaran.store.layers import LayerId, Layers
from trimaran.store.snapshots import Mounted, Snapshots
from trimaran.store.tree import Tree

_TREES = 16
_STACKS = 512
"""Stacks whose trees, bare, can be built upon: of each about eight bytes a layer."""


class Rootfs(msgspec.Struct, frozen=True):
    """Layer ids, lowest first. `scratch` is the stack of none."""

    layers: tuple[LayerId, ...] = ()

    @property
    def id(self) -> str:
        """Equal stacks have equal ids; "" for scratch."""
        if not self.layers:
            return ""
        return "sha256:" + hashlib.sha256("\n".join(self.layers).encode()).hexdigest()

    def on_top(self, layer: LayerId) -> Rootfs:
        return Rootfs((*self.layers, layer))


class MountedRootfs:
    """A rootfs at `path`, for as long as its context lasts."""

    def __init__(self, layers: Layers, rootfs: Rootfs, mounted: Mounted) -> None:
        self.path = mounted.path
        self._layers = layers
        self._rootfs = rootfs
        self._mounted = mounted

    async def commit(self, *, description: str = "") -> LayerId | None:
        """What changed, as a layer; None when nothing did. Ends the use of `path`; at most once."""
        folder = await aio.in_thread(self._take)
        if folder is None:
            return None
        return await self._layers.add_upper(folder, self._rootfs.layers, description=description)

    def _take(self, cancel: Cancel) -> str | None:
        return self._mounted.take(cancel)


class Roots:
    def __init__(self, layers: Layers, snapshots: Snapshots) -> None:
        self._layers = layers
        self._snapshots = snapshots
        self._trees: OrderedDict[Rootfs, tuple[tuple[int, ...], Tree]] = OrderedDict()
        self._stacks: OrderedDict[Rootfs, tuple[int, Tree]] = OrderedDict()
        """Trees that nothing was asked of, with `LayerLists.replaced` when they were made."""

    async def tree(self, rootfs: Rootfs, *, progress: Progress | None = None) -> Tree:
        """The merged view, without unpacking; remote layers are pulled to be listed. ResultGone."""
        bare = await self._bare(rootfs, progress)
        identity = tuple(map(id, bare.layers))  # a list that learned digests is a new object
        known = self._trees.get(rootfs)
        if known is not None and known[0] == identity:
            self._trees.move_to_end(rootfs)
            return known[1]
        tree = bare.anew()
        self._trees[rootfs] = (identity, tree)
        while len(self._trees) > _TREES:
            self._trees.popitem(last=False)
        return tree

    async def _bare(self, rootfs: Rootfs, progress: Progress | None) -> Tree:
        """The lists as a tree of which nothing was asked; made of the one below, when no list has changed since then.

        A stage of a hundred steps would else look up each layer a hundred times.
        """
        tree = self._stack(rootfs)
        if tree is not None:
            return tree
        made = self._layers.lists.replaced  # while some are awaited, others may change
        if len(rootfs.layers) > 1:
            *lower, top = rootfs.layers
            entries = await self._layers.entries(top, progress=progress)
            below = self._stack(Rootfs(tuple(lower)))
            tree = None if below is None else below.on_top(entries)
        if tree is None:
            tree = Tree.stack([await self._layers.entries(layer, progress=progress) for layer in rootfs.layers])
        self._stacks[rootfs] = (made, tree)
        while len(self._stacks) > _STACKS:
            self._stacks.popitem(last=False)
        return tree

    def _stack(self, rootfs: Rootfs) -> Tree | None:
        made, tree = self._stacks.get(rootfs, (-1, None))
        if made != self._layers.lists.replaced:
            return None
        self._stacks.move_to_end(rootfs)
        return tree

    async def read_file(self, rootfs: Rootfs, path: str, limit: int = 1 << 20) -> bytes:
        """A small regular file, symlinks followed inside the rootfs. NotFound, Corrupt when it is too large."""
        tree = await self.tree(rootfs)
        place = tree.resolve(path)
        entry = tree.get(place)
        if entry is None or entry.kind != FILE:
            raise NotFound(f"read {'/' + path.lstrip('/')!r}: no such file in the image")
        return await self._layers.read_file(rootfs.layers[tree.layer(place)], place, limit=limit)

    async def prepare(self, rootfs: Rootfs, *, progress: Progress | None = None) -> None:
        """Make the folders a mount needs, all at the same time: so that no slot is held while layers are pulled."""
        await self._folders(_stacked(rootfs), progress)

    async def _folders(self, layers: Iterable[LayerId], progress: Progress | None) -> list[str]:
        wanted = dict.fromkeys(layers)
        paths = await aio.all_of([self._layers.folder(layer, progress=progress) for layer in wanted])
        found = dict(zip(wanted, paths, strict=True))
        return [found[layer] for layer in layers]

    @asynccontextmanager
    async def mount(
        self, rootfs: Rootfs, *, writable: bool, progress: Progress | None = None
    ) -> AsyncIterator[MountedRootfs]:
        """Show the rootfs in a folder of this mount namespace; changes are lost unless committed. ResultGone."""
        layers = _stacked(rootfs)
        folders = await self._folders(layers, progress)
        rendered = [await self._rendered_list(layer) for layer in layers]
        opened = await aio.in_thread(self._enter, folders, rendered, writable)
        try:
            yield MountedRootfs(self._layers, rootfs, opened.mounted)
        finally:
            await aio.in_thread(opened.leave)

    async def _rendered_list(self, layer: LayerId) -> EntryList | None:
        return await self._layers.entries(layer) if self._layers.is_rendered(layer) else None

    def _enter(self, cancel: Cancel, folders: list[str], rendered: list[EntryList | None], writable: bool) -> _Entered:
        from trimaran.store.snapshots.merged import merge_lowest
        from trimaran.store.snapshots.parents import root_status, shadow_folder

        entered = _Entered()
        try:
            root = root_status(folders, rendered)
            shadow = shadow_folder(cancel, self._snapshots.folders, folders, rendered)
            lowers = folders[::-1]
            if shadow is not None:
                entered.temporary.append(shadow)
                lowers.insert(0, shadow)
            if len(lowers) > self._snapshots.limit:
                lowers = merge_lowest(cancel, self._snapshots.folders, lowers, self._snapshots.limit, entered.temporary)
            context = self._snapshots.mount(cancel, lowers, root=root, writable=writable)
            entered.mounted = context.__enter__()
            entered.context = context
        except BaseException:
            entered.leave(Cancel())
            raise
        return entered


class _Entered:
    """What one mount holds; entering and leaving it happen in disk threads."""

    mounted: Mounted

    def __init__(self) -> None:
        from contextlib import AbstractContextManager

        self.context: AbstractContextManager[Mounted] | None = None
        self.temporary: list[str] = []

    def leave(self, cancel: Cancel) -> None:
        """Always to the end, cancelled or not."""
        from trimaran.store.removal import remove_tree

        del cancel
        if self.context is not None:
            self.context.__exit__(None, None, None)
        for folder in self.temporary:
            remove_tree(Cancel(), folder)


def _stacked(rootfs: Rootfs) -> tuple[LayerId, ...]:
    """The layers that have something in them, each once.

    Two equal steps give one layer, but overlayfs refuses a folder that comes twice; its topmost place decides alone.
    """
    nothing = LayerId(EMPTY.digest)
    topmost = dict.fromkeys(layer for layer in reversed(rootfs.layers) if layer != nothing)
    return tuple(reversed(topmost))
