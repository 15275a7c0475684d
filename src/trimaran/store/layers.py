"""Layers: an entry list plus where its bytes are: context (this build only) | snapshot | blob | remote.

Ids are text: the diff id of a layer that came as a blob, the digest of a list that was made here, `run-…` for what a
process changed (its list is read from its folder when asked). Law: a context never outlives its build; whatever has a
row has, or had, bytes on disk. What is found gone raises ResultGone, and whoever made it runs again.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.events import Progress
from trimaran.oci.blobs import Blobs
from trimaran.oci.descriptor import Descriptor
from trimaran.solver.protocols import ResultGone
from trimaran.store.compression import Compression, kind_of
from trimaran.store.content import Content
from trimaran.store.database import Database
from trimaran.store.entries import EntryList, Origin, Origins
from trimaran.store.failpoints import reached
from trimaran.store.last_use import LAYER, LastUse
from trimaran.store.layer_file import LayerFile
from trimaran.store.layer_lists import NOTHING, LayerLists, file_at
from trimaran.store.layer_places import LayerPlaces
from trimaran.store.layer_rows import PULLED, LayerBlob, LayerId, LayerRows, drop_claimed, insert_blob, insert_layer
from trimaran.store.locks import locked
from trimaran.store.pins import Pins
from trimaran.store.snapshots import Snapshots

_SMALL_FILE = 1 << 20


class Layers:
    def __init__(
        self, root: str, database: Database, pins: Pins, *, content: Content, snapshots: Snapshots, last_use: LastUse
    ) -> None:
        self.content = content
        self.snapshots = snapshots
        self.database = database
        self._locks = os.path.join(root, "locks")
        self._pins = pins
        self._last_use = last_use
        self._once = aio.Once()
        self._rows = LayerRows(database)
        self.lists = LayerLists(database, self._rows)
        self._places = LayerPlaces(self._rows, content, snapshots)
        self.made_here: list[LayerId] = []
        """What processes of this build made."""

    def register_remote(
        self, diff_id: Digest, descriptor: Descriptor, source: Blobs | None, repository: str
    ) -> LayerId:
        """A layer of a resolved image. Nothing is fetched; `source` is kept for this process, `repository` for good.
        Without a source (an image of the store whose layer is gone) it is a promise only if its bytes are here."""
        layer = LayerId(diff_id)
        self._pins.pin(f"layer:{layer}", f"blob:{descriptor.digest}")
        if source is not None:
            self._places.claim(layer, descriptor, source)
        self._rows.add_remote(layer, descriptor, repository)
        return layer

    def register_blob(self, diff_id: Digest, descriptor: Descriptor) -> LayerId:
        """A layer whose blob is in the content already (pulled before, an OCI layout)."""
        layer = LayerId(diff_id)
        self._pins.pin(f"layer:{layer}", f"blob:{descriptor.digest}")
        self._places.claim(layer, descriptor, None)
        self._rows.add_claimed(layer, descriptor)
        return layer

    async def add(self, entries: EntryList, origins: Origins, layer: LayerId | None = None) -> LayerId:
        """A layer whose bytes are still where they came from, named by its list, which has every content digest.
        `origins` must give the listed bytes until the build ends or the layer is settled. Who can name it as well by
        where it comes from, or by less than all its times, gives its id."""
        layer = layer or LayerId(entries.digest)
        self._use(layer)
        if self.lists.get(layer) is None:  # the one that is kept may date what was made otherwise, as its bytes do
            self.lists.put(layer, entries, only_here=not self._places.row_lives(layer))
        if entries and not self._places.on_disk(layer):
            self._places.contexts.setdefault(layer, origins)  # a copy of a whole layer is that layer: origins in itself
        return layer

    async def add_upper(self, folder: str, parents: tuple[LayerId, ...], *, description: str = "") -> LayerId:
        """A layer that a process made: `folder` (a temp folder, overlay-ready) becomes its snapshot, on `parents`."""
        layer = LayerId(f"run-{os.urandom(12).hex()}")
        self._use(layer)
        reached("layer taken")
        path = await aio.in_thread(self._keep_upper, folder, layer, parents, description)
        self._places.row_written(layer)
        self._places.add_folder(layer, path)
        self.made_here.append(layer)
        return layer

    def _keep_upper(
        self, cancel: Cancel, folder: str, layer: LayerId, parents: tuple[LayerId, ...], description: str
    ) -> str:
        cancel.check()
        path = self.snapshots.folders.keep(folder, layer)
        self.database.write_now(
            lambda connection: insert_layer(connection, layer, parents=" ".join(parents), description=description)
        )
        reached("layer row")
        return path

    def present(self, layer: LayerId) -> bool:
        """Whether the promise can be kept: context, snapshot, blob, or remote with a source of this process. 30 µs."""
        self._pins.pin(f"layer:{layer}")
        if not self._places.any(layer):
            return False
        self._use(layer)
        return True

    def _use(self, layer: LayerId) -> None:
        self._pins.pin(f"layer:{layer}")
        self._last_use.bump(LAYER, layer)

    def is_here(self, layer: LayerId) -> bool:
        """Whether its bytes are on this machine: nothing has to be fetched to read it."""
        self._pins.pin(f"layer:{layer}")
        return layer == NOTHING or layer in self._places.contexts or self._places.on_disk(layer)

    def forget_remote(self, layer: LayerId) -> None:
        """Where it was said to be afar it is not."""
        self._places.forget_remote(layer)

    def source(self, layer: LayerId | Digest) -> Blobs | None:
        """Where a remote layer (by id, or its blob by digest) can be read from in this process."""
        return self._places.source(layer)

    def repositories(self, digest: Digest) -> tuple[str, ...]:
        """Repositories known to hold this blob: to mount it from."""
        return self._rows.repositories(digest)

    def parents(self, layer: LayerId) -> tuple[LayerId, ...]:
        """The stack a process made this layer on; () for layers that stand alone."""
        return self._rows.parents(layer)

    def created(self, layer: LayerId) -> int:
        """When the layer was first made here: nanoseconds since the epoch, 0 when nobody knows."""
        return self._rows.created(layer)

    def is_rendered(self, layer: LayerId) -> bool:
        """Whether the layer's folder holds what its list says and no more (a process's folder has its parents too)."""
        return not layer.startswith("run-")

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
        self._pins.pin(f"layer:{layer}")
        return self.lists.get(layer)

    async def _list(self, layer: LayerId, progress: Progress | None) -> None:
        if self.is_rendered(layer):
            await self.fetch(layer, progress=progress)
            return
        folder = self._places.folder(layer)
        if folder is None:
            raise ResultGone(layer)
        from trimaran.store.committed import list_upper

        below = [self._known_list(parent) for parent in self.parents(layer)]
        lists = [entries for entries in below if entries is not None]
        user_xattrs = self.snapshots.folders.user_xattrs
        entries = await aio.in_thread(list_upper, folder, lists, user_xattrs=user_xattrs)
        self.lists.store(layer, entries)

    async def digests(self, layer: LayerId, paths: Collection[str]) -> dict[str, Digest]:
        """Content digests of the layer's files at `paths`, reading only those not known yet. NotFound."""
        entries = await self.entries(layer)
        from trimaran.store.folder import hash_files

        files = {path: file_at(entries, path) for path in paths}
        unknown = sorted({file.path for file in files.values() if not file.digest})
        hashed: dict[str, Digest] = {}
        if unknown:
            await self.readable(layer)
            hashed = await aio.in_thread(hash_files, {path: self.origin(layer, path) for path in unknown})
            self.lists.fill(layer, hashed)
        return {path: hashed.get(file.path) or Digest(file.digest) for path, file in files.items()}

    async def blob(
        self,
        layer: LayerId,
        compression: Compression,
        *,
        force: bool = False,
        ours: bool = False,
        spare: bool = False,
        progress: Progress | None = None,
    ) -> LayerBlob:
        """The layer as a blob. Made here when it is no blob yet; a remote or pulled one stays as it is, unread, unless
        `force` asks for another compression than it has, `ours` for bytes of our own encoder, or two blobs are said to
        be it. `spare`: it may go again (`store/spare.py`). ResultGone; Corrupt when the one named last is not."""
        while True:
            found = await self._blob(layer, compression, force, ours, spare, progress)
            if spare or self.content.spare.need(found.descriptor.digest):
                return found

    async def _blob(
        self, layer: LayerId, compression: Compression, force: bool, ours: bool, spare: bool, progress: Progress | None
    ) -> LayerBlob:
        self._use(layer)
        foreign = self._places.foreign_blob(layer)
        fits = foreign is not None and kind_of(foreign.descriptor.media_type) == compression.kind
        if foreign is not None and not ours and (fits or not force):
            if self._places.is_disputed(layer, foreign):
                await self._once.run(("try", layer), lambda: self._fetch(layer, progress, as_claimed=True))
            return foreign
        key = compression.identity
        known = self._places.blob(layer, key)
        if known is not None:
            return known
        if foreign is not None:
            await self.fetch(layer, progress=progress)
        making = ("blob", layer, key, spare)  # who needs it does not fail with who would only save time
        made = await self._once.run(making, lambda: self._make_blob(layer, compression, spare, progress))
        if spare:
            self.content.spare.offer(made.descriptor.digest)
        return made

    async def _make_blob(
        self, layer: LayerId, compression: Compression, spare: bool, progress: Progress | None
    ) -> LayerBlob:
        from trimaran.store.making import recompress, render
        from trimaran.store.pages import paged
        from trimaran.store.render import fill_digests

        key = compression.identity
        # What came as a blob is that blob's tar, whoever wrote it: its folder, made a tar, would be another layer.
        came = self._places.blob(layer, PULLED)
        has_files_here = layer in self._places.contexts or self._places.folder(layer) is not None
        renders = layer == NOTHING or (has_files_here and came is None)
        entries = await self.entries(layer) if renders else self._known_list(layer)
        async with self._locked("blob", layer):  # it takes its time, and nobody else need wait for a blob
            known = self._places.blob(layer, key)
            if known is not None:
                return known
            other = came or self._places.blob(layer)
            if renders and entries is not None:
                opener = partial(self.open_file, layer)
                with self._places.blamed(layer):
                    made, digests = await aio.in_thread(
                        render, self.content, entries, opener, compression=compression, spare=spare, progress=progress
                    )
                entries = fill_digests(entries, dict(digests))
            elif other is not None:
                descriptor = await aio.in_thread(recompress, self.content, other, compression, spare=spare)
                made = LayerBlob(descriptor, other.diff_id)
            else:
                raise ResultGone(layer)
            body = paged(entries) if entries is not None else None
            await self.database.write(lambda connection: insert_blob(connection, layer, key, made, body))
            reached("layer blob row")
            self._places.row_written(layer)
            if entries is not None:
                self.lists.put(layer, entries)
            return made

    async def fetch(self, layer: LayerId, *, progress: Progress | None = None) -> Descriptor:
        """The layer's blob here, whatever its compression; a remote one is pulled and listed in the same pass.

        Digest, size and diff id are verified. ResultGone when there is neither blob nor source.
        """
        self._use(layer)
        return await self._once.run(("fetch", layer), lambda: self._fetch(layer, progress))

    async def _fetch(
        self, layer: LayerId, progress: Progress | None, *, unpack_too: bool = False, as_claimed: bool = False
    ) -> Descriptor:
        """`as_claimed`: not by a blob that was read before, but by the one that was named last."""
        from trimaran.store.fetching import unpack_or_pull
        from trimaran.store.pages import paged

        async with self._locked("layer", layer):
            blob = None if as_claimed else self._places.blob(layer)
            known = self._known_list(layer)
            if blob is not None and known is not None and not unpack_too:
                return blob.descriptor
            folder = self.snapshots.folders.temporary() if unpack_too else None
            try:
                found, entries = await unpack_or_pull(
                    self.content,
                    layer,
                    blob,
                    self._places.claims(layer),
                    folder=folder,
                    progress=progress,
                    user_xattrs=self.snapshots.folders.user_xattrs,
                )
            except (Corrupt, ResultGone):
                await self.database.write(lambda connection: drop_claimed(connection, layer))
                raise
            entries = known or entries  # what was listed here knows more: times in nanoseconds
            self.lists.put(layer, entries)
            body = paged(entries)
            if found == blob:
                await self.database.write(lambda connection: insert_layer(connection, layer, entries=body))
            else:
                await self.database.write(lambda connection: insert_blob(connection, layer, PULLED, found, body))
            self._places.row_written(layer)
            if folder is not None:
                self._places.add_folder(layer, await aio.in_thread(self._keep_folder, folder, layer))
            return found.descriptor

    async def folder(self, layer: LayerId, *, progress: Progress | None = None) -> str:
        """Path of the layer's snapshot folder, to stack it; unpacked or rendered when it is none yet. ResultGone."""
        self._use(layer)
        known = self._places.folder(layer)
        if known is not None:
            return known
        return await self._once.run(("folder", layer), lambda: self._make_folder(layer, progress))

    async def _make_folder(self, layer: LayerId, progress: Progress | None) -> str:
        if layer not in self._places.contexts:
            await self._fetch(layer, progress, unpack_too=True)
            path = self._places.folder(layer)
            assert path is not None
            return path
        from trimaran.store.making import folder_size, render_folder
        from trimaran.store.pages import paged

        async with self._locked("layer", layer):
            known = self._places.folder(layer)
            if known is not None:
                return known
            entries = await self.entries(layer)
            await aio.in_thread(self.content.ceiling.ask, folder_size(entries), "write snapshot")
            temporary = self.snapshots.folders.temporary()
            opener, user_xattrs = partial(self.open_file, layer), self.snapshots.folders.user_xattrs
            with self._places.blamed(layer):
                await aio.in_thread(render_folder, entries, opener, temporary, user_xattrs=user_xattrs)
            body = paged(entries)
            await self.database.write(lambda connection: insert_layer(connection, layer, entries=body))
            self._places.row_written(layer)
            return self._places.add_folder(layer, await aio.in_thread(self._keep_folder, temporary, layer))

    def _keep_folder(self, cancel: Cancel, temporary: str, layer: LayerId) -> str:
        cancel.check()
        return self.snapshots.folders.keep(temporary, layer)

    async def settle(self, layers: Iterable[LayerId], compression: Compression | None = None) -> None:
        """Every layer that is only a context becomes a blob, so that it outlives the build; contexts are let go."""
        wanted = [layer for layer in dict.fromkeys(layers) if layer in self._places.contexts]
        self.content.spare.keep(blob.descriptor.digest for layer in wanted for _, blob in self._rows.blobs(layer))
        lost = [layer for layer in wanted if not self._places.on_disk(layer)]
        await aio.all_of([self.blob(layer, compression or Compression()) for layer in lost])
        for layer in wanted:
            self._places.contexts.pop(layer, None)

    def origin(self, layer: LayerId, path: str) -> Origin:
        """One file of the layer. Its `open` works once `readable(layer)` was awaited."""
        return LayerFile(self, layer, path)

    async def readable(self, layer: LayerId, *, progress: Progress | None = None) -> None:
        """See to it that single files of the layer can be opened. ResultGone."""
        if layer not in self._places.contexts:
            await self.folder(layer, progress=progress)

    def open_file(self, layer: LayerId, path: str) -> int:
        """A new descriptor of a regular file of the layer, for disk functions. NotFound."""
        return self._places.open_file(layer, path)

    async def read_file(self, layer: LayerId, path: str, *, limit: int = _SMALL_FILE) -> bytes:
        """A small file of the layer, kept beside the list (passwd, group). NotFound; Corrupt when over `limit`."""
        from trimaran.store.committed import read_small

        kept = self._rows.file(layer, path)
        if kept is not None and len(kept) <= limit and self._places.row_lives(layer):
            return kept
        await self.readable(layer)
        data = await aio.in_thread(read_small, self.origin(layer, path), path, limit)
        if self.is_rendered(layer) and self._places.row_lives(layer):
            self._rows.keep_file(layer, path, data)
        return data

    def _locked(self, what: str, layer: LayerId) -> AbstractAsyncContextManager[None]:
        """Equal work runs once, also across processes."""
        return locked(os.path.join(self._locks, Digest.of(f"{what}:{layer}".encode()).hex))


__all__ = ["LayerBlob", "LayerFile", "LayerId", "Layers"]
