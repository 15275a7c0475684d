"""Layers: an entry list plus where its bytes are: context (this build only) | snapshot | blob | remote.

Ids are text: the diff id of a layer that came as a blob, the digest of a list that was made here, `run-…` for what a
process changed (its list is read from its folder when asked). Law: a context never outlives its build; whatever has a
row has, or had, bytes on disk. What is found gone raises ResultGone, and whoever made it runs again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import NewType

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.events import Progress
from trimaran.oci.blobs import Blobs
from trimaran.oci.descriptor import Descriptor
from trimaran.solver.protocols import ResultGone
from trimaran.store.compression import Compression, kind_of
from trimaran.store.content import Content
from trimaran.store.database import Database
from trimaran.store.entries import EMPTY, FILE, HARDLINK, EntryList, Origin, Origins
from trimaran.store.failpoints import reached
from trimaran.store.last_use import LAYER, LastUse
from trimaran.store.locks import locked
from trimaran.store.packing import pack
from trimaran.store.pins import Pins
from trimaran.store.snapshots import Snapshots

LayerId = NewType("LayerId", str)

_LISTS = 300_000
"""Entries of lists kept decoded in memory, all together (about 300 bytes each)."""
_SMALL_FILE = 1 << 20
_NOTHING = LayerId(EMPTY.digest)
"""The layer that changes nothing: always there, has no bytes."""
_FOREIGN = "pulled"
"""The compression column of a blob that somebody else made."""


class LayerBlob(msgspec.Struct, frozen=True):
    descriptor: Descriptor
    diff_id: Digest


class LayerFile:
    """An Origin: one file of a layer, opened where its bytes are then (`Layers.readable` sees to it that they are)."""

    __slots__ = ("_layers", "layer", "path")

    def __init__(self, layers: Layers, layer: LayerId, path: str) -> None:
        self._layers = layers
        self.layer = layer
        self.path = path

    def open(self) -> int:
        return self._layers.open_file(self.layer, self.path)

    def __repr__(self) -> str:
        return f"LayerFile({self.layer!r}, {self.path!r})"


class Layers:
    def __init__(
        self, root: str, database: Database, pins: Pins, content: Content, snapshots: Snapshots, last_use: LastUse
    ) -> None:
        self.content = content
        self.snapshots = snapshots
        self.database = database
        self._locks = os.path.join(root, "locks")
        self._pins = pins
        self._last_use = last_use
        self._once = aio.Once()
        self._contexts: dict[LayerId, Origins] = {}
        self._remotes: dict[LayerId, tuple[Descriptor, Blobs]] = {}
        self._registered: dict[LayerId, LayerBlob] = {}
        self._sources: dict[Digest, Blobs] = {}
        self._lists: OrderedDict[LayerId, EntryList] = OrderedDict()
        self._listed = 0
        self._folders: dict[LayerId, str] = {}
        self._known: set[LayerId] = set()

    # -- where layers come from ------------------------------------------------------------------------------------

    def register_remote(
        self, diff_id: Digest, descriptor: Descriptor, source: Blobs | None, repository: str
    ) -> LayerId:
        """A layer of a resolved image. Nothing is fetched; `source` is kept for this process, `repository` for good.

        Without a source (an image of the store whose layer is gone) it is a promise only if its bytes are here.
        """
        layer = LayerId(diff_id)
        self._pins.pin(f"layer:{layer}", f"blob:{descriptor.digest}")
        if source is not None:
            self._remotes[layer] = (descriptor, source)
            self._sources[descriptor.digest] = source
        row = self.database.row("SELECT remote FROM layers WHERE id=? AND NOT condemned", (layer,))
        body = pack(descriptor)
        if row is None or row[0] != body:
            self.database.submit(lambda connection: _insert_layer(connection, layer, diff_id=diff_id, remote=body))
        if repository not in self.repositories(descriptor.digest):
            self.database.execute("INSERT OR IGNORE INTO origins VALUES(?,?)", (descriptor.digest, repository))
        return layer

    def register_blob(self, diff_id: Digest, descriptor: Descriptor) -> LayerId:
        """A layer whose blob is in the content already (pulled before, an OCI layout, a cache import)."""
        layer = LayerId(diff_id)
        self._pins.pin(f"layer:{layer}", f"blob:{descriptor.digest}")
        self._registered[layer] = LayerBlob(descriptor, diff_id)
        row = self.database.row("SELECT digest FROM layer_blobs WHERE layer=? AND compression=?", (layer, _FOREIGN))
        if row is None or row[0] != descriptor.digest or not self._row_lives(layer):
            self.database.submit(lambda connection: _insert_blob(connection, layer, _FOREIGN, descriptor, diff_id))
        return layer

    async def add(self, entries: EntryList, origins: Origins) -> LayerId:
        """A layer whose bytes are still where they came from; every content digest is in the list.

        `origins` must give the listed bytes until the build ends or the layer is settled.
        """
        layer = LayerId(entries.digest)
        self._pins.pin(f"layer:{layer}")
        self._keep_list(layer, entries)
        if entries and not self._has_bytes(layer):
            self._contexts[layer] = origins
        return layer

    async def add_upper(self, folder: str, parents: tuple[LayerId, ...], *, description: str = "") -> LayerId:
        """A layer that a process made: `folder` (a temp folder, overlay-ready) becomes its snapshot, on `parents`."""
        layer = LayerId(f"run-{os.urandom(12).hex()}")
        self._pins.pin(f"layer:{layer}")
        reached("layer taken")
        self._folders[layer] = await aio.in_thread(self._keep_upper, folder, layer, parents, description)
        return layer

    def _keep_upper(
        self, cancel: Cancel, folder: str, layer: LayerId, parents: tuple[LayerId, ...], description: str
    ) -> str:
        cancel.check()
        path = self.snapshots.folders.keep(folder, layer)
        self.database.write_now(
            lambda connection: _insert_layer(connection, layer, parents=" ".join(parents), description=description)
        )
        reached("layer row")
        return path

    def describe(self, layer: LayerId, description: str) -> None:
        """What made the layer, for `du`."""
        self.database.execute("UPDATE layers SET description=? WHERE id=?", (description, layer))

    # -- what is known ---------------------------------------------------------------------------------------------

    def present(self, layer: LayerId) -> bool:
        """Whether the promise can be kept: context, snapshot, blob, or remote with a source of this process. 30 µs."""
        self._pins.pin(f"layer:{layer}")
        if layer in self._contexts or self._has_bytes(layer) or layer in self._remotes or layer == _NOTHING:
            self._last_use.bump(LAYER, layer)
            return True
        return False

    def _has_bytes(self, layer: LayerId) -> bool:
        return self._folder_if_there(layer) is not None or self._local_blob(layer) is not None

    def _row_lives(self, layer: LayerId) -> bool:
        if layer in self._known:
            return True
        if self.database.row("SELECT 1 FROM layers WHERE id=? AND NOT condemned", (layer,)) is None:
            return False
        self._known.add(layer)  # it is pinned, so it stays
        return True

    def _folder_if_there(self, layer: LayerId) -> str | None:
        known = self._folders.get(layer)
        if known is not None:
            return known
        if not self._row_lives(layer):
            return None
        path = self.snapshots.folders.path(layer)
        if path is not None:
            self._folders[layer] = path
        return path

    def _local_blob(self, layer: LayerId, kind: str | None = None) -> LayerBlob | None:
        """A blob of the layer that is here: made by the compression `kind`, or any (pulled ones first)."""
        registered = self._registered.get(layer)
        if registered is not None and kind in {None, _FOREIGN}:
            if self.content.size(registered.descriptor.digest) == registered.descriptor.size:
                return registered
            del self._registered[layer]
        rows = self.database.query(
            "SELECT compression, digest, size, media_type,"
            " (SELECT diff_id FROM layers WHERE id=layer AND NOT condemned)"
            " FROM layer_blobs WHERE layer=? ORDER BY compression != ?, compression",
            (layer, _FOREIGN),
        )
        for compression, digest, size, media_type, diff_id in rows:
            if diff_id is None or (kind is not None and compression != kind):
                continue
            if self.content.size(Digest(digest)) == size:
                descriptor = Descriptor(media_type=media_type, digest=Digest(digest), size=size)
                return LayerBlob(descriptor, Digest(diff_id))
        return None

    def source(self, layer: LayerId | Digest) -> Blobs | None:
        """Where a remote layer (by id, or its blob by digest) can be read from in this process."""
        remote = self._remotes.get(LayerId(layer))
        return remote[1] if remote is not None else self._sources.get(Digest(layer))

    def repositories(self, digest: Digest) -> tuple[str, ...]:
        """Repositories known to hold this blob: to mount it from."""
        rows = self.database.query("SELECT repository FROM origins WHERE digest=? ORDER BY repository", (digest,))
        return tuple(row[0] for row in rows)

    def parents(self, layer: LayerId) -> tuple[LayerId, ...]:
        """The stack a process made this layer on; () for layers that stand alone."""
        row = self.database.row("SELECT parents FROM layers WHERE id=?", (layer,))
        return tuple(LayerId(parent) for parent in row[0].split()) if row else ()

    def created(self, layer: LayerId) -> int:
        """When the layer was first made here: nanoseconds since the epoch, 0 when nobody knows."""
        row = self.database.row("SELECT created FROM layers WHERE id=?", (layer,))
        return int(row[0]) if row else 0

    def is_rendered(self, layer: LayerId) -> bool:
        """Whether the layer's folder holds what its list says and no more (a process's folder has its parents too)."""
        return not layer.startswith("run-")

    # -- entry lists -----------------------------------------------------------------------------------------------

    async def entries(self, layer: LayerId, *, progress: Progress | None = None) -> EntryList:
        """The layer's list; pulls, reads or walks when it is not kept yet. ResultGone."""
        known = self._known_list(layer)
        if known is not None:
            return known
        for needed in (*self.parents(layer), layer):  # in the order of the stack, so nothing recurses
            if self._known_list(needed) is None:
                await self._once.run(("list", needed), partial(self._list, needed, progress))
        found = self._known_list(layer)
        assert found is not None
        return found

    def _known_list(self, layer: LayerId) -> EntryList | None:
        known = self._lists.get(layer)
        if known is not None:
            self._lists.move_to_end(layer)
            return known
        if layer == _NOTHING:
            return EMPTY
        self._pins.pin(f"layer:{layer}")
        row = self.database.row("SELECT entries FROM layers WHERE id=? AND NOT condemned", (layer,))
        if row is None or row[0] is None:
            return None
        return self._keep_list(layer, EntryList.decode(row[0]))

    def _keep_list(self, layer: LayerId, entries: EntryList) -> EntryList:
        old = self._lists.pop(layer, None)
        self._listed += len(entries) - (len(old) if old is not None else 0)
        self._lists[layer] = entries
        for other in list(self._lists):
            if self._listed <= _LISTS or len(self._lists) == 1:
                break
            if other not in self._contexts and other != layer and self._row_lives(other):
                self._listed -= len(self._lists.pop(other))
        return entries

    async def _list(self, layer: LayerId, progress: Progress | None) -> None:
        if self.is_rendered(layer):
            await self.fetch(layer, progress=progress)
            return
        folder = self._folder_if_there(layer)
        if folder is None:
            raise ResultGone(layer)
        from trimaran.store.committed import list_upper

        below = [self._known_list(parent) for parent in self.parents(layer)]
        lists = [entries for entries in below if entries is not None]
        user_xattrs = self.snapshots.folders.user_xattrs
        entries = await aio.in_thread(list_upper, folder, lists, user_xattrs=user_xattrs)
        self._store_list(layer, entries)

    def _store_list(self, layer: LayerId, entries: EntryList) -> None:
        self._keep_list(layer, entries)
        body = entries.encode()
        self.database.submit(lambda connection: _insert_layer(connection, layer, entries=body))

    async def digests(self, layer: LayerId, paths: Collection[str]) -> dict[str, Digest]:
        """Content digests of the layer's files at `paths`, reading only those not known yet. NotFound."""
        entries = await self.entries(layer)
        wanted: dict[str, str] = {}
        for path in paths:
            entry = entries.get(path)
            if entry is not None and entry.kind == HARDLINK:
                entry = entries.get(entry.target)
            if entry is None or entry.kind != FILE:
                raise NotFound(f"hash {'/' + path!r}: no such file in layer {layer}")
            wanted[path] = entry.path
        unknown = sorted({file for file in wanted.values() if not _digest(entries, file)})
        if unknown:
            await self.readable(layer)
            hashed = await aio.in_thread(self._hash, layer, unknown)
            entries = self._fill(layer, hashed)
        return {path: Digest(_digest(entries, file)) for path, file in wanted.items()}

    def _hash(self, cancel: Cancel, layer: LayerId, paths: list[str]) -> dict[str, Digest]:
        from trimaran.store.committed import hash_file

        return {path: hash_file(cancel, self.open_file(layer, path)) for path in paths}

    def _fill(self, layer: LayerId, hashed: Mapping[str, Digest]) -> EntryList:
        """Put digests that were computed into the kept list."""
        entries = self._known_list(layer)
        assert entries is not None
        from trimaran.store.render import fill_digests

        filled = fill_digests(entries, dict(hashed))
        self._store_list(layer, filled)
        return filled

    # -- blobs -----------------------------------------------------------------------------------------------------

    async def blob(
        self,
        layer: LayerId,
        compression: Compression,
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> LayerBlob:
        """The layer as a blob. Made here when it is no blob yet; a remote or pulled one stays as it is, without its
        bytes being fetched, unless `force` asks for another compression than it has. ResultGone.
        """
        self._pins.pin(f"layer:{layer}")
        foreign = self._foreign_blob(layer)
        if foreign is not None and (not force or kind_of(foreign.descriptor.media_type) == compression.kind):
            return foreign
        key = compression.identity
        known = self._local_blob(layer, key)
        if known is not None:
            return known
        if foreign is not None:
            await self.fetch(layer, progress=progress)
        return await self._once.run(("blob", layer, key), lambda: self._make_blob(layer, compression, progress))

    def _foreign_blob(self, layer: LayerId) -> LayerBlob | None:
        remote = self._remotes.get(layer)
        if remote is not None:
            return LayerBlob(remote[0], Digest(layer))
        return self._local_blob(layer, _FOREIGN)

    async def _make_blob(self, layer: LayerId, compression: Compression, progress: Progress | None) -> LayerBlob:
        from trimaran.store.making import recompress, render

        async with self._locked(layer):
            known = self._local_blob(layer, compression.identity)
            if known is not None:
                return known
            other = self._local_blob(layer)
            if layer not in self._contexts and self._folder_if_there(layer) is None:
                if other is None:
                    raise ResultGone(layer)
                descriptor = await aio.in_thread(recompress, self.content, other, compression, progress)
                made = LayerBlob(descriptor, other.diff_id)
            else:
                entries = await self.entries(layer)
                made, digests = await aio.in_thread(
                    render, self.content, entries, lambda path: self.open_file(layer, path), compression, progress
                )
                if digests:
                    self._fill(layer, digests)
            await self._insert_made(layer, compression.identity, made)
            return made

    async def _insert_made(self, layer: LayerId, key: str, made: LayerBlob) -> None:
        entries = self._known_list(layer)
        body = entries.encode() if entries is not None else None
        await self.database.write(
            lambda connection: _insert_blob(connection, layer, key, made.descriptor, made.diff_id, body)
        )
        reached("layer blob row")

    async def fetch(self, layer: LayerId, *, progress: Progress | None = None) -> Descriptor:
        """The layer's blob here, whatever its compression; a remote one is pulled and listed in the same pass.

        Digest, size and diff id are verified. ResultGone when there is neither blob nor source.
        """
        self._pins.pin(f"layer:{layer}")
        return await self._once.run(("fetch", layer), lambda: self._fetch(layer, progress, unpack_too=False))

    async def _fetch(self, layer: LayerId, progress: Progress | None, *, unpack_too: bool) -> Descriptor:
        from trimaran.store.fetching import pull, unpack_blob

        async with self._locked(layer):
            blob = self._local_blob(layer)
            needs_list = self._known_list(layer) is None
            if blob is not None and not needs_list and not unpack_too:
                return blob.descriptor
            folder = self.snapshots.folders.temporary() if unpack_too else None
            user_xattrs = self.snapshots.folders.user_xattrs
            if blob is not None:
                entries = await aio.in_thread(unpack_blob, self.content, blob, folder, user_xattrs=user_xattrs)
                descriptor = blob.descriptor
            else:
                remote = self._remotes.get(layer)
                if remote is None:
                    raise ResultGone(layer)
                descriptor, source = remote
                entries = await pull(
                    self.content, source, descriptor, Digest(layer), folder, progress, user_xattrs=user_xattrs
                )
            self._keep_list(layer, entries)
            body = entries.encode()
            await self.database.write(
                lambda connection: (
                    _insert_blob(connection, layer, _FOREIGN, descriptor, Digest(layer), body)
                    if self._is_foreign(layer)
                    else _insert_layer(connection, layer, entries=body)
                )
            )
            if folder is not None:
                self._folders[layer] = await aio.in_thread(self._keep_folder, folder, layer)
            return descriptor

    async def fetch_all(self, layers: Iterable[LayerId], *, progress: Progress | None = None) -> None:
        """Bring the blobs of all remote layers among `layers` here, at the same time; others are left as they are."""
        remote = [layer for layer in dict.fromkeys(layers) if layer in self._remotes and not self._local_blob(layer)]
        await aio.all_of([self.fetch(layer, progress=progress) for layer in remote])

    def _is_foreign(self, layer: LayerId) -> bool:
        """Whether the id is a diff id: the layer came as a blob."""
        return layer in self._remotes or self._local_blob(layer, _FOREIGN) is not None

    # -- folders ---------------------------------------------------------------------------------------------------

    async def folder(self, layer: LayerId, *, progress: Progress | None = None) -> str:
        """Path of the layer's snapshot folder, to stack it; unpacked or rendered when it is none yet. ResultGone."""
        self._pins.pin(f"layer:{layer}")
        known = self._folder_if_there(layer)
        if known is not None:
            return known
        return await self._once.run(("folder", layer), lambda: self._make_folder(layer, progress))

    async def _make_folder(self, layer: LayerId, progress: Progress | None) -> str:
        if layer not in self._contexts:
            await self._fetch(layer, progress, unpack_too=True)
            return self._folders[layer]
        from trimaran.store.making import render_folder

        async with self._locked(layer):
            known = self._folder_if_there(layer)
            if known is not None:
                return known
            entries = self._lists[layer]
            temporary = self.snapshots.folders.temporary()
            user_xattrs = self.snapshots.folders.user_xattrs
            opener = lambda path: self.open_file(layer, path)  # noqa: E731
            await aio.in_thread(render_folder, entries, opener, temporary, user_xattrs=user_xattrs)
            body = entries.encode()
            await self.database.write(lambda connection: _insert_layer(connection, layer, entries=body))
            self._folders[layer] = await aio.in_thread(self._keep_folder, temporary, layer)
            return self._folders[layer]

    def _keep_folder(self, cancel: Cancel, temporary: str, layer: LayerId) -> str:
        cancel.check()
        return self.snapshots.folders.keep(temporary, layer)

    async def settle(self, layers: Iterable[LayerId], compression: Compression | None = None) -> None:
        """Every layer that is only a context becomes a blob, so that it outlives the build; contexts are let go."""
        wanted = [layer for layer in dict.fromkeys(layers) if layer in self._contexts]
        chosen = compression or Compression()
        await aio.all_of([self.blob(layer, chosen) for layer in wanted if not self._has_bytes(layer)])
        for layer in wanted:
            self._contexts.pop(layer, None)

    # -- single files ----------------------------------------------------------------------------------------------

    def origin(self, layer: LayerId, path: str) -> Origin:
        """One file of the layer. Its `open` works once `readable(layer)` was awaited."""
        return LayerFile(self, layer, path)

    async def origins(self, layer: LayerId, paths: Iterable[str]) -> dict[str, Origin]:
        """Where the bytes of these files of the layer are, brought to this disk when they are not. ResultGone."""
        await self.readable(layer)
        return {path: self.origin(layer, path) for path in paths}

    async def readable(self, layer: LayerId, *, progress: Progress | None = None) -> None:
        """See to it that single files of the layer can be opened. ResultGone."""
        if layer not in self._contexts:
            await self.folder(layer, progress=progress)

    def open_file(self, layer: LayerId, path: str) -> int:
        """A new descriptor of a regular file of the layer, for disk functions. NotFound."""
        context = self._contexts.get(layer)
        if context is not None:
            origin = context.get(path)
            if origin is None:
                raise NotFound(f"read {'/' + path!r}: no such file in layer {layer}")
            return origin.open()
        folder = self._folder_if_there(layer)
        if folder is None:
            raise ResultGone(layer)
        from trimaran.store.committed import open_regular

        return open_regular(folder, path)

    async def read_file(self, layer: LayerId, path: str, *, limit: int = _SMALL_FILE) -> bytes:
        """A small file of the layer, kept beside the list (passwd, group). NotFound; Corrupt when over `limit`."""
        row = self.database.row("SELECT data FROM layer_files WHERE layer=? AND path=?", (layer, path))
        if row is not None and self._row_lives(layer):
            return bytes(row[0])
        await self.readable(layer)
        data = await aio.in_thread(self._read_file, layer, path, limit)
        if self.is_rendered(layer) and self._row_lives(layer):
            self.database.execute("INSERT OR REPLACE INTO layer_files VALUES(?,?,?)", (layer, path, data))
        return data

    def _read_file(self, cancel: Cancel, layer: LayerId, path: str, limit: int) -> bytes:
        from trimaran.store.committed import read_small

        return read_small(cancel, self.open_file(layer, path), path, limit)

    async def flush(self) -> None:
        """What was submitted is committed when this returns."""
        await self.database.write(lambda _: None)

    @asynccontextmanager
    async def _locked(self, layer: LayerId) -> AsyncIterator[None]:
        """Equal work runs once, also across processes."""
        name = Digest.of(f"layer:{layer}".encode()).hex
        async with locked(os.path.join(self._locks, name)):
            yield


def _digest(entries: EntryList, path: str) -> str:
    entry = entries.get(path)
    return entry.digest if entry is not None else ""


def _insert_layer(
    connection: sqlite3.Connection,
    layer: str,
    *,
    diff_id: str = "",
    entries: bytes | None = None,
    remote: bytes | None = None,
    parents: str = "",
    description: str = "",
) -> None:
    """Add or complete a row: what is given replaces, what is not stays."""
    connection.execute(
        "INSERT INTO layers(id, entries, diff_id, remote, parents, description, created) VALUES(?,?,?,?,?,?,?)"
        " ON CONFLICT(id) DO UPDATE SET entries=coalesce(excluded.entries, entries),"
        " diff_id=CASE excluded.diff_id WHEN '' THEN diff_id ELSE excluded.diff_id END,"
        " remote=coalesce(excluded.remote, remote),"
        " parents=CASE excluded.parents WHEN '' THEN parents ELSE excluded.parents END,"
        " description=CASE excluded.description WHEN '' THEN description ELSE excluded.description END, condemned=0",
        (layer, entries, diff_id, remote, parents, description, time.time_ns()),
    )


def _insert_blob(
    connection: sqlite3.Connection,
    layer: str,
    compression: str,
    descriptor: Descriptor,
    diff_id: Digest,
    entries: bytes | None = None,
) -> None:
    _insert_layer(connection, layer, diff_id=diff_id, entries=entries)
    connection.execute(
        "INSERT OR REPLACE INTO layer_blobs(layer, compression, digest, size, media_type) VALUES(?,?,?,?,?)",
        (layer, compression, descriptor.digest, descriptor.size, descriptor.media_type),
    )


__all__ = ["LayerBlob", "LayerFile", "LayerId", "Layers"]
