"""Named images: name → descriptor of an index or manifest whose documents are in the content.

Law: every blob an image reaches is listed beside it, so that the garbage collector keeps it without reading documents.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound
from trimaran.oci.blobs import read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.store.content import Content
from trimaran.store.database import Database
from trimaran.store.failpoints import reached
from trimaran.store.packing import pack, row_sum, unpack

_DOCUMENT_LIMIT = 8 << 20
_DEPTH = 8


class StoredImage(msgspec.Struct, frozen=True):
    name: str
    descriptor: Descriptor
    created: int
    """When it got this name: nanoseconds since the epoch."""


class Images:
    def __init__(self, database: Database, content: Content) -> None:
        self._database = database
        self._content = content

    def list(self) -> Sequence[StoredImage]:
        """All images, newest first."""
        rows = self._database.query("SELECT name, descriptor, created FROM images ORDER BY created DESC, name")
        found = [(name, _read(body), created) for name, body, created in rows]
        return [StoredImage(name, descriptor, created) for name, descriptor, created in found if descriptor]

    def get(self, name: str) -> Descriptor | None:
        row = self._database.row("SELECT descriptor FROM images WHERE name=?", (name,))
        return None if row is None else _read(row[0])

    async def put(self, name: str, descriptor: Descriptor) -> None:
        """Give `name` to an image whose documents are here (layers may still be elsewhere). NotFound, Corrupt."""
        blobs = await self._reach(descriptor)
        if self.get(name) == descriptor and set(self.blobs(name)) == set(blobs):
            return  # it has that name already, since the time that is shown
        body, now = pack(descriptor), time.time_ns()
        row = (name, body, now, row_sum(name, body, now))

        def job(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO images(name, descriptor, created, sum) VALUES(?,?,?,?)", row)
            connection.execute("DELETE FROM image_blobs WHERE name=?", (name,))
            connection.executemany("INSERT INTO image_blobs VALUES(?,?)", [(name, digest) for digest in blobs])

        await self._database.write(job)
        reached("image row")

    async def remove(self, name: str) -> bool:
        """Take the name away; whether it was there. Bytes go with the next prune."""

        def job(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM image_blobs WHERE name=?", (name,))
            return connection.execute("DELETE FROM images WHERE name=?", (name,)).rowcount > 0

        return await self._database.write(job)

    def blobs(self, name: str) -> Sequence[Digest]:
        """All digests the image reaches: documents, configs, layers."""
        rows = self._database.query("SELECT digest FROM image_blobs WHERE name=? ORDER BY digest", (name,))
        return [Digest(row[0]) for row in rows]

    async def _reach(self, top: Descriptor) -> Sequence[Digest]:
        found: dict[Digest, None] = {}
        level: _Level = [top]
        for _ in range(_DEPTH):
            following: _Level = []
            for descriptor in level:
                if descriptor.digest in found:
                    continue
                found[descriptor.digest] = None
                if _is_document(descriptor.media_type):
                    following += await self._children(descriptor, required=descriptor is top)
            if not following:
                return list(found)
            level = following
        raise Corrupt(f"keep image {top.digest}: its indexes are nested more than {_DEPTH} deep")

    async def _children(self, descriptor: Descriptor, *, required: bool) -> Sequence[Descriptor]:
        try:
            raw = await read_all(self._content, descriptor, limit=_DOCUMENT_LIMIT)
        except NotFound:
            if required:
                raise
            return []
        try:
            document = msgspec.json.decode(raw)
            parts = [*document.get("manifests", ()), *document.get("layers", ())]
            if "config" in document:
                parts.append(document["config"])
            return [_part(part) for part in parts]
        except (msgspec.DecodeError, AttributeError, KeyError, TypeError) as error:
            raise Corrupt(f"keep image {descriptor.digest}: it is no image document") from error


def _read(body: bytes) -> Descriptor | None:
    """A row that cannot be read is no image: whoever builds or pulls it again replaces it."""
    try:
        return unpack(body, Descriptor)
    except msgspec.MsgspecError:
        return None


def _is_document(media_type: str) -> bool:
    """Indexes and manifests, OCI's and Docker's (OCI image-spec, media-types.md)."""
    return media_type.endswith((".index.v1+json", ".manifest.v1+json", ".manifest.v2+json", ".manifest.list.v2+json"))


def _part(part: dict[str, Any]) -> Descriptor:
    return Descriptor(
        media_type=str(part["mediaType"]), digest=Digest.parse(str(part["digest"])), size=int(part["size"])
    )


_Level = list[Descriptor]
