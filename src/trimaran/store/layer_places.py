"""Where the bytes of layers are: contexts and remotes of this process, folders and blobs of the store."""

from __future__ import annotations

from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.oci.blobs import Blobs
from trimaran.oci.descriptor import Descriptor
from trimaran.solver.protocols import ResultGone
from trimaran.store.content import Content
from trimaran.store.entries import Origins
from trimaran.store.layer_lists import NOTHING
from trimaran.store.layer_rows import PULLED, LayerBlob, LayerId, LayerRows
from trimaran.store.snapshots import Snapshots


class LayerPlaces:
    """Asked after the layer was pinned: what is seen then stays until this process ends."""

    def __init__(self, rows: LayerRows, content: Content, snapshots: Snapshots) -> None:
        self._rows = rows
        self._content = content
        self._snapshots = snapshots
        self._sources: dict[Digest, Blobs] = {}
        self._known: set[LayerId] = set()
        self._folders: dict[LayerId, str] = {}
        self.contexts: dict[LayerId, Origins] = {}
        self.remotes: dict[LayerId, tuple[Descriptor, Blobs]] = {}
        self.registered: dict[LayerId, LayerBlob] = {}

    def add_remote(self, layer: LayerId, descriptor: Descriptor, source: Blobs) -> None:
        self.remotes[layer] = (descriptor, source)
        self._sources[descriptor.digest] = source

    def source(self, layer: LayerId | Digest) -> Blobs | None:
        """By layer, or by the digest of its blob."""
        remote = self.remotes.get(LayerId(layer))
        return remote[1] if remote is not None else self._sources.get(Digest(layer))

    def any(self, layer: LayerId) -> bool:
        """Whether the bytes are here, or can be had."""
        return layer == NOTHING or layer in self.contexts or self.on_disk(layer) or layer in self.remotes

    def on_disk(self, layer: LayerId) -> bool:
        return self.folder(layer) is not None or self.blob(layer) is not None

    def row_lives(self, layer: LayerId) -> bool:
        if layer in self._known:
            return True
        if not self._rows.lives(layer):
            return False
        self._known.add(layer)  # a collector that condemns it from now on sees our pin and takes that back
        return True

    def row_written(self, layer: LayerId) -> None:
        """We wrote it ourselves, after we had pinned it: it lives."""
        self._known.add(layer)

    def folder(self, layer: LayerId) -> str | None:
        known = self._folders.get(layer)
        if known is not None:
            return known
        if not self.row_lives(layer):
            return None
        path = self._snapshots.folders.path(layer)
        if path is not None:
            self._folders[layer] = path
        return path

    def add_folder(self, layer: LayerId, path: str) -> str:
        self._folders[layer] = path
        return path

    def blob(self, layer: LayerId, kind: str | None = None) -> LayerBlob | None:
        """A blob that is here: the one made by the compression `kind`, or any (pulled ones first)."""
        registered = self.registered.get(layer)
        if registered is not None and kind in {None, PULLED}:
            if self._content.size(registered.descriptor.digest) == registered.descriptor.size:
                return registered
            del self.registered[layer]
        for compression, blob in self._rows.blobs(layer) if self.row_lives(layer) else ():
            if kind in {None, compression} and self._content.size(blob.descriptor.digest) == blob.descriptor.size:
                return blob
        return None

    def foreign_blob(self, layer: LayerId) -> LayerBlob | None:
        """The blob of a layer that came as one, here or afar."""
        remote = self.remotes.get(layer)
        return LayerBlob(remote[0], Digest(layer)) if remote is not None else self.blob(layer, PULLED)

    def open_file(self, layer: LayerId, path: str) -> int:
        """See `Layers.open_file`."""
        context = self.contexts.get(layer)
        if context is not None:
            origin = context.get(path)
            if origin is None:
                raise NotFound(f"read {'/' + path!r}: no such file in layer {layer}")
            return origin.open()
        folder = self.folder(layer)
        if folder is None:
            raise ResultGone(layer)
        from trimaran.store.committed import open_regular

        return open_regular(folder, path)
