"""Where an image that a person names is: the store, a registry, an OCI layout, or an archive. Nothing is fetched."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.engine import images
from trimaran.engine.engine import Engine
from trimaran.errors import NotFound, UsageError
from trimaran.oci import index as indexes
from trimaran.oci.blobs import Blobs, Reader, read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.index import Index
from trimaran.oci.manifest import Manifest
from trimaran.reference import Reference
from trimaran.sources.places import place_of

LAYOUT = "oci-layout://"
_PATHS = (LAYOUT, "/", "./", "../")
"""What no name begins with."""


class PlacedImage(msgspec.Struct, frozen=True):
    """An index or manifest, and where it and what it names can be read."""

    name: str
    root: Descriptor
    blobs: Blobs

    async def document(self, descriptor: Descriptor | None = None) -> Manifest | Index:
        wanted = descriptor or self.root
        return indexes.parse_any(await read_all(self.blobs, wanted), wanted.media_type)


class _Stored:
    """The store as a place whose images may have layers that never came here: those are read where they are."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def has(self, descriptor: Descriptor) -> bool:
        return await self._engine.store.content.has(descriptor)

    @asynccontextmanager
    async def read(self, descriptor: Descriptor) -> AsyncIterator[Reader]:
        source = await place_of(self._engine.store, self._engine.registry, descriptor)
        async with source.read(descriptor) as reader:
            yield reader

    def ingest(self, media_type: str, expected: Descriptor | None = None) -> object:
        raise UsageError(f"write {media_type}: images are only read here")


def in_store(engine: Engine, name: str, root: Descriptor) -> PlacedImage:
    blobs: Blobs = _Stored(engine)  # type: ignore[assignment] # what is only read takes nothing in
    return PlacedImage(name, root, blobs)


@asynccontextmanager
async def open_image(text: str, engine: Engine) -> AsyncIterator[PlacedImage]:
    """`text`: a file or folder that is there (`oci-layout://FOLDER[:NAME]` too), a name or digest of the store, or a
    name of a registry. NotFound tells where it was looked for."""
    path, name, kind = await aio.in_thread(_look, text)
    if kind == "folder":
        yield await _in_layout(text, path, name)
    elif kind == "file":
        from trimaran.oci.archive import Archive

        async with Archive.open(path) as archive:
            if len(archive.images) != 1:
                raise UsageError(f"read {text}: it holds {len(archive.images)} images", hint="compare archives of one")
            yield PlacedImage(text, archive.images[0].plain(), archive)
    else:
        yield await _by_name(text, engine)


def _look(_cancel: Cancel, text: str) -> tuple[str, str, str]:
    """Path, name in it, and what is there: a folder, a file, or "".

    What may be an image's name, too, is a path only where that holds an image: the folder `app` is rarely a layout.
    """
    path = text.removeprefix(LAYOUT)
    before, colon, name = path.rpartition(":")
    if os.path.isdir(path) and (text.startswith(_PATHS) or _is_layout(path)):
        return path, "", "folder"
    if colon and os.path.isdir(before) and (text.startswith(_PATHS) or _is_layout(before)):
        return before, name, "folder"
    return path, "", "file" if os.path.isfile(path) and (text.startswith(_PATHS) or _is_archive(path)) else ""


def _is_layout(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "oci-layout"))


def _is_archive(path: str) -> bool:
    from trimaran.sources.archives import START, is_archive

    try:
        with open(path, "rb") as file:
            return is_archive(file.read(START))
    except OSError:
        return True  # whoever reads it says why not


async def _in_layout(text: str, path: str, name: str) -> PlacedImage:
    from trimaran.oci.layout import Layout

    layout = await Layout.open(path)
    return PlacedImage(text, (await layout.find(name)).plain(), layout)


async def _by_name(text: str, engine: Engine) -> PlacedImage:
    if text.startswith(_PATHS):
        raise NotFound(f"read {text}: no such file or folder")
    try:
        stored = images.find(engine.store, text)
    except NotFound:
        if text.startswith("sha256:"):
            raise
    else:
        return in_store(engine, text, stored.descriptor)
    reference = Reference.parse(text)
    repository = engine.registry.repository(reference)
    root = await repository.resolve(str(reference.digest or reference.tag))
    return PlacedImage(reference.familiar, root, repository)
