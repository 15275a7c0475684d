"""Where the bytes of layers are: contexts and claims of this process, folders and blobs of the store.

Law: that a blob holds a layer is a *claim* of whoever named both (an image, a cache) until somebody has read it. It is
passed on unread as long as nothing speaks against it; a blob that was read is read before any that is only claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound
from trimaran.oci.blobs import Blobs
from trimaran.oci.descriptor import Descriptor
from trimaran.solver.protocols import ResultGone
from trimaran.store.content import Content
from trimaran.store.entries import Origins
from trimaran.store.layer_file import LayerFile
from trimaran.store.layer_lists import NOTHING
from trimaran.store.layer_rows import CLAIMED, PULLED, LayerBlob, LayerId, LayerRows
from trimaran.store.snapshots import Snapshots


class Claim(msgspec.Struct, frozen=True):
    """A blob that is said to hold a layer. Without a source its bytes are in the content, or it is void."""

    blob: LayerBlob
    source: Blobs | None
    kept: bool = False
    """By an earlier process; nobody has repeated it in this one."""

    def refusal(self, error: Corrupt) -> Exception:
        """What to raise, for `error`, when it is not true: a source that only promises blobs says so itself."""
        broken = getattr(self.source, "broken", None)
        if broken is not None:
            refused: Exception = broken(error)
            return refused
        return ResultGone(self.blob.diff_id) if self.kept else error


class LayerPlaces:
    """Asked after the layer was pinned: what is seen then stays until this process ends."""

    def __init__(self, rows: LayerRows, content: Content, snapshots: Snapshots) -> None:
        self._rows = rows
        self._content = content
        self._snapshots = snapshots
        self._sources: dict[Digest, Blobs] = {}
        self._known: set[LayerId] = set()
        self._folders: dict[LayerId, str] = {}
        self._damaged: set[LayerId] = set()
        self.contexts: dict[LayerId, Origins] = {}
        self._claims: dict[LayerId, dict[Digest, Claim]] = {}

    def claim(self, layer: LayerId, descriptor: Descriptor, source: Blobs | None) -> None:
        """The latest one counts; those before it are kept, since they may speak against it."""
        claims = self._claims.setdefault(layer, {})
        claims.pop(descriptor.digest, None)
        claims[descriptor.digest] = Claim(LayerBlob(descriptor, Digest(layer)), source)
        if source is not None:
            self._sources[descriptor.digest] = source

    def forget_remote(self, layer: LayerId) -> None:
        """Where it was said to be afar it is not."""
        claims = self._claims.get(layer, {})
        for digest in [digest for digest, claim in claims.items() if claim.source is not None]:
            del claims[digest]

    def claims(self, layer: LayerId) -> list[Claim]:
        """Those whose bytes can be had, the latest first; at last an earlier process's, which nobody repeats."""
        own = reversed(self._claims.get(layer, {}).values())
        kept = (Claim(blob, None, kept=True) for blob in self._read(layer, CLAIMED))
        return [claim for claim in (*own, *kept) if claim.source is not None or self._is_here(claim.blob)]

    def is_disputed(self, layer: LayerId, blob: LayerBlob) -> bool:
        """Whether the claim of `blob` is not all that is known: it is to be read before anybody relies on it."""
        known = {each.descriptor.digest for each in self._read(layer, PULLED)}
        others = known or set(self._claims.get(layer, {}))
        return bool(others) and others != {blob.descriptor.digest}

    def _read(self, layer: LayerId, compression: str) -> list[LayerBlob]:
        return [blob for each, blob in self._rows.blobs(layer) if each == compression]

    def _is_here(self, blob: LayerBlob) -> bool:
        return self._content.size(blob.descriptor.digest) == blob.descriptor.size

    def source(self, layer: LayerId | Digest) -> Blobs | None:
        """By layer, or by the digest of its blob."""
        for claim in self.claims(LayerId(layer)):
            if claim.source is not None:
                return claim.source
        return self._sources.get(Digest(layer))

    def any(self, layer: LayerId) -> bool:
        """Whether the bytes are here, or can be had."""
        return layer == NOTHING or layer in self.contexts or self.on_disk(layer) or bool(self.claims(layer))

    def _any_here(self, layer: LayerId) -> bool:
        """Whether a blob is here that holds it, or is said to."""
        return self.blob(layer) is not None or any(self._is_here(claim.blob) for claim in self.claims(layer))

    def on_disk(self, layer: LayerId) -> bool:
        return self.folder(layer) is not None or self._any_here(layer)

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
        if layer in self._damaged or not self.row_lives(layer):
            return None
        path = self._snapshots.folders.path(layer)
        if path is not None:
            self._folders[layer] = path
        return path

    def add_folder(self, layer: LayerId, path: str) -> str:
        self._folders[layer] = path
        self._damaged.discard(layer)
        return path

    def blob(self, layer: LayerId, kind: str | None = None) -> LayerBlob | None:
        """A blob that is here and was read: the one made by the compression `kind`, or any (pulled ones first)."""
        for compression, blob in self._rows.blobs(layer) if self.row_lives(layer) else ():
            wanted = kind == compression if kind is not None else compression != CLAIMED
            if wanted and self._is_here(blob):
                return blob
        return None

    def foreign_blob(self, layer: LayerId) -> LayerBlob | None:
        """The blob of a layer that came as one, here or afar: as it was named last in this process, else ever."""
        claims = self.claims(layer)
        if claims and claims[0].blob.descriptor.digest in self._claims.get(layer, {}):
            return claims[0].blob
        pulled = self.blob(layer, PULLED)
        return pulled or (claims[0].blob if claims else None)

    @contextmanager
    def blamed(self, layer: LayerId) -> Iterator[None]:
        """A file that is not what the layer's list says: ContextChanged for a context of the user's. A folder of ours
        where that file lies is damaged: it is forgotten, and ResultGone for the layer whose it is."""
        from trimaran.store.render import ContextChanged

        try:
            yield
        except ContextChanged as error:
            damaged, path = layer, error.path
            while (context := self.contexts.get(damaged)) is not None:
                origin = context.get(path)
                if not isinstance(origin, LayerFile):
                    raise
                damaged, path = origin.layer, origin.path
            self._lose_folder(damaged)
            raise ResultGone(damaged) from error

    def _lose_folder(self, layer: LayerId) -> None:
        """Nobody reads it any more; what was to be copied from it is to be copied from the one that is made anew."""
        self._folders.pop(layer, None)
        self._damaged.add(layer)  # its row goes a moment later
        self._snapshots.folders.forget(layer)
        for each, origins in list(self.contexts.items()):
            if any(isinstance(origin, LayerFile) and origin.layer == layer for origin in origins.values()):
                del self.contexts[each]

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
