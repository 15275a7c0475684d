"""Images as one tar file: OCI layout archives and docker's (`docker save` and `load`), written and read.

Written as BuildKit does (containerd's archive exporter): entries sorted by name, mode 0444, owner 0, time 0; with
`docker` a manifest.json beside index.json. Read without unpacking: blobs are found where they lie in the file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound, Unavailable, UsageError
from trimaran.linux.paths import open_regular
from trimaran.oci import documents, media_types
from trimaran.oci import index as indexes
from trimaran.oci import manifest as manifests
from trimaran.oci.blobs import CHUNK, Blobs, Reader, copy_to
from trimaran.oci.copy import Content, content_of
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.layout import VERSION, check_version, encode_index, named
from trimaran.oci.manifest import Manifest
from trimaran.reference import Reference
from trimaran.tar.header import FILE, FOLDER, HARDLINK, SYMLINK, Header, encode, padding
from trimaran.tar.writer import END


def blob_path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


async def write_archive(
    fd: int,
    root: Descriptor,
    blobs: Blobs,
    *,
    names: tuple[str, ...] = (),
    created: str = "",
    docker: bool = False,
    count: Callable[[int], object] | None = None,
) -> None:
    """Stream the image under `root` to `fd` (left open). `names` are full references; `created` an RFC 3339 time.

    `docker`: with the manifest.json that `docker load` reads; needs a manifest, not an index. `count` is told bytes.
    """
    content = await content_of(root, blobs)
    files = _files(content, encode_index(named(root, names, created)))
    if docker:
        files["manifest.json"] = _Entry(0o644, _docker_manifest(content, names))
    output = _Output(fd, count)
    for path in sorted(files):
        entry = files[path]
        data = entry.data
        if data is None:
            await output.write(encode(Header(name=path, type=FOLDER, mode=entry.mode)))
            continue
        size = data.size if isinstance(data, Descriptor) else len(data)
        await output.write(encode(Header(name=path, type=FILE, mode=entry.mode, size=size)))
        if isinstance(data, bytes):
            await output.write(data)
        else:
            async with blobs.read(data) as reader:
                await output.copy(reader, size)
        await output.write(padding(size))
    await output.write(END)
    await output.flush()


class _Entry(msgspec.Struct, frozen=True):
    """A file with its bytes, or where they are; None: a folder."""

    mode: int
    data: bytes | Descriptor | None


def _files(content: Content, index: bytes) -> dict[str, _Entry]:
    """What the archive of an image holds, by path (pure)."""
    files = {"oci-layout": _Entry(0o444, VERSION), "index.json": _Entry(0o644, index)}
    for descriptor, raw in content.documents:
        files[blob_path(descriptor.digest)] = _Entry(0o444, raw)
    for descriptor in content.blobs:
        files[blob_path(descriptor.digest)] = _Entry(0o444, descriptor)
    algorithms = {path.split("/")[1] for path in files if path.startswith("blobs/")}
    for folder in ("blobs/", *(f"blobs/{algorithm}/" for algorithm in algorithms)):
        files[folder] = _Entry(0o755, None)
    return files


_SMALL = 64 << 10
"""Bytes of a blob that are gathered with what is beside it."""


class _Output:
    """Gathers small pieces; writes large ones in a thread."""

    def __init__(self, fd: int, count: Callable[[int], object] | None) -> None:
        self._fd = fd
        self._count = count
        self._parts: list[bytes] = []
        self._size = 0

    async def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size >= CHUNK:
            await self.flush()

    async def copy(self, reader: Reader, size: int) -> None:
        """All that is to be read. What is small is gathered: each of many layers would wait twice for a thread."""
        if size > _SMALL:
            await self.flush()
            try:
                if await copy_to(reader, self._fd, self._count or _nobody):
                    return
            except OSError as error:
                raise _unwritten(error) from None
        while chunk := await reader.read(CHUNK):
            await self.write(chunk)

    async def flush(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        await aio.in_thread(self._write, parts)

    def _write(self, cancel: Cancel, parts: list[bytes]) -> None:
        for part in parts:
            cancel.check()
            view = memoryview(part)
            try:
                while view:
                    view = view[os.write(self._fd, view) :]
            except OSError as error:
                raise _unwritten(error) from None
            if self._count is not None:
                self._count(len(part))


def _unwritten(error: OSError) -> Unavailable:
    return Unavailable(f"write archive: {(error.strerror or str(error)).lower()}")


def _nobody(_size: int) -> None:
    """Is told of bytes."""


def _docker_manifest(content: Content, names: tuple[str, ...]) -> bytes:
    """manifest.json of a docker archive with one image."""
    found = [indexes.parse_any(raw, descriptor.media_type) for descriptor, raw in content.documents]
    images = [document for document in found if isinstance(document, Manifest)]
    if len(images) != 1 or len(found) != 1:
        raise UsageError("write docker archive: it holds one platform's image, not an index", hint="use type=oci")
    image = images[0]
    entry = {
        "Config": blob_path(image.config.digest),
        "RepoTags": [Reference.parse(name).familiar for name in names] or None,
        "Layers": [blob_path(layer.digest) for layer in image.layers] or None,
    }
    return documents.encode([entry])


# -- reading ----------------------------------------------------------------------------------------------------------

_ENTRIES = 100_000
_LAYERS = 50_000
"""Layers of all images of a docker archive together (T37)."""
_WINDOW = 1 << 16
"""Bytes read at once while headers are looked for: what lies between them is skipped."""


class _Place(msgspec.Struct, frozen=True):
    offset: int
    size: int


class Archive:
    """A tar file with images as a place with content (read only). `open` scans its headers once."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._places: dict[str, _Place] = {}
        self._made: dict[Digest, bytes] = {}
        self._by_digest: dict[Digest, _Place] = {}
        self._adopted: dict[tuple[str, str], Descriptor] = {}
        #: What is in it, annotated with names as index.json has them.
        self.images: tuple[Descriptor, ...] = ()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str) -> AsyncIterator[Archive]:
        """The archive at `path` (not compressed); UsageError when it is none, Corrupt when it is broken."""
        try:
            fd = open_regular(path)
        except OSError as error:
            hint = "an archive is read where it lies: save it first" if error.errno == errno.EINVAL else ""
            raise UsageError(f"read {path}: {(error.strerror or str(error)).lower()}", hint=hint) from None
        try:
            archive = cls(path, fd)
            await aio.in_thread(archive._scan)
            yield archive
        finally:
            os.close(fd)

    def _scan(self, cancel: Cancel) -> None:
        from trimaran.tar import reader as tar

        size = os.fstat(self._fd).st_size
        at = 0

        def read(wanted: int) -> bytes:
            nonlocal at
            cancel.check()
            data = os.pread(self._fd, min(wanted, _WINDOW), at)
            at += len(data)
            return data

        def skip(ahead: int) -> None:
            nonlocal at
            at += ahead

        archive = tar.Reader(read, tar.Limits(entries=_ENTRIES, size=size), skip=skip)
        while (header := self._named(archive.next)) is not None:
            if archive.position + header.size > size:
                raise Corrupt(f"read {self.path}: {header.name[:100]!r} reaches beyond the end of the file")
            if header.type == FILE:
                self._places[_clean(header.name)] = _Place(archive.position, header.size)
            elif header.type in {SYMLINK, HARDLINK} and header.link:
                self._link(header)
        if "index.json" in self._places:
            self._read_layout()
        elif "manifest.json" in self._places:
            self._read_docker(cancel)
        else:
            raise UsageError(f"read {self.path}: neither index.json nor manifest.json is in it", hint="is it an image?")

    def _named(self, following: Callable[[], Header | None]) -> Header | None:
        """What `following` gives; its errors, which know of no file, name this one."""
        try:
            return following()
        except Corrupt as error:
            hint = "" if self._places else "an image as a file is what `-o type=oci` or `docker save` writes"
            raise Corrupt(f"read {self.path}: {error.message.removeprefix('read archive: ')}", hint=hint) from None

    def _link(self, header: Header) -> None:
        """Old docker archives link equal layers to one another, tar(1) one file's names; all within the archive."""
        folder = os.path.dirname(_clean(header.name)) if header.type == SYMLINK else ""
        target = os.path.normpath(os.path.join(folder, header.link))
        if target in self._places:
            self._places[_clean(header.name)] = self._places[target]

    def _bytes(self, name: str, limit: int) -> bytes:
        place = self._places.get(name)
        if place is None:
            raise Corrupt(f"read {self.path}: {name[:150]!r} is missing")
        if place.size > limit:
            raise Corrupt(f"read {self.path}: {name[:150]!r} has more than the {limit} bytes allowed")
        return os.pread(self._fd, place.size, place.offset)

    def _read_layout(self) -> None:
        if "oci-layout" in self._places:
            check_version(self._bytes("oci-layout", 1 << 16), self.path)
        try:
            self.images = indexes.parse(self._bytes("index.json", documents.MANIFEST_LIMIT)).manifests
        except Corrupt as error:
            raise Corrupt(f"read {self.path}: {error.message}") from None
        for name, place in self._places.items():
            parts = name.split("/")
            if len(parts) == 3 and parts[0] == "blobs":
                try:
                    self._by_digest[Digest.parse(f"{parts[1]}:{parts[2]}")] = place
                except Corrupt:
                    continue

    def _read_docker(self, cancel: Cancel) -> None:
        """A docker archive without index.json (docker before 25, podman, kaniko): manifests are made for its images."""
        raw = self._bytes("manifest.json", documents.MANIFEST_LIMIT)
        wrapped = documents.check(b'{"images":' + raw + b"}", "manifest.json", limit=documents.MANIFEST_LIMIT + 20)
        images = documents.convert(wrapped["images"], list[_DockerImage], "manifest.json")
        if sum(len(image.layers or ()) for image in images) > _LAYERS:
            raise Corrupt(f"read {self.path}: manifest.json names more than {_LAYERS} layers")
        found: list[Descriptor] = []
        for image in images:
            config = self._adopt(cancel, image.config, media_types.DOCKER_CONFIG)
            layers = tuple(self._adopt(cancel, name, media_types.DOCKER_LAYER) for name in image.layers or ())
            manifest = manifests.build(config, layers, media_type=media_types.DOCKER_MANIFEST)
            self._made[manifest.descriptor.digest] = manifest.raw
            names = tuple(str(Reference.parse(name)) for name in image.repo_tags or ())
            found += named(manifest.descriptor, names)
        self.images = tuple(found)

    def _adopt(self, cancel: Cancel, name: str, media_type: str) -> Descriptor:
        """Hash a file of the archive, once, and know it by its digest from now on."""
        name = _clean(name)
        asked = (name, media_type)
        if asked in self._adopted:
            return self._adopted[asked]
        place = self._places.get(name)
        if place is None:
            raise Corrupt(f"read {self.path}: {name[:150]!r} is missing")
        hasher = Digest.of(b"").hasher()
        offset, end = place.offset, place.offset + place.size
        first = b""
        while offset < end:
            cancel.check()
            chunk = os.pread(self._fd, min(CHUNK, end - offset), offset)
            if not chunk:
                raise Corrupt(f"read {self.path}: it ends in the middle of {name[:150]!r}")
            first = first or chunk[:4]
            hasher.update(chunk)
            offset += len(chunk)
        digest = Digest.of_hash(hasher)
        self._by_digest[digest] = place
        if media_type == media_types.DOCKER_LAYER and first[:2] == b"\x1f\x8b":
            media_type = media_types.DOCKER_LAYER_GZIP
        self._adopted[asked] = Descriptor(media_type=media_type, digest=digest, size=place.size)
        return self._adopted[asked]

    # -- Blobs ------------------------------------------------------------------------------------------------------

    async def has(self, descriptor: Descriptor) -> bool:
        if descriptor.digest in self._made:
            return True
        place = self._by_digest.get(descriptor.digest)
        return place is not None and place.size == descriptor.size

    @asynccontextmanager
    async def read(self, descriptor: Descriptor) -> AsyncIterator[_PlaceReader]:
        place = self._by_digest.get(descriptor.digest)
        made = self._made.get(descriptor.digest)
        if place is None and made is None:
            raise NotFound(f"read {descriptor.digest} in {self.path}: not there")
        yield _PlaceReader(self._fd, place or _Place(0, len(made or b"")), descriptor, made)

    def ingest(self, media_type: str, expected: Descriptor | None = None) -> Any:
        """An archive is not written into."""
        raise UsageError(f"write {media_type} into {self.path}: an archive is read only")


class _DockerImage(msgspec.Struct, rename="pascal"):
    config: str
    layers: list[str] | None = None
    repo_tags: list[str] | None = None


class _PlaceReader:
    """A `Reader` of one piece of a file, or of bytes in hand."""

    def __init__(self, fd: int, place: _Place, descriptor: Descriptor, made: bytes | None) -> None:
        self._fd = fd
        self._offset = place.offset
        self._end = place.offset + place.size
        self._made = made
        self._descriptor = descriptor
        self._hasher = descriptor.digest.hasher()
        if place.size != descriptor.size:
            raise Corrupt(f"read {descriptor.digest}: the archive has {place.size} bytes of it, not {descriptor.size}")

    async def read(self, size: int = CHUNK) -> bytes:
        wanted = min(size, self._end - self._offset)
        if self._made is not None:
            chunk = self._made[self._offset : self._offset + wanted]
        else:
            chunk = await aio.in_thread(lambda _cancel: os.pread(self._fd, wanted, self._offset))
        self._offset += len(chunk)
        self._hasher.update(chunk)
        if not chunk and (wanted or Digest.of_hash(self._hasher) != self._descriptor.digest):
            raise Corrupt(f"read {self._descriptor.digest}: the archive holds other bytes")
        return chunk


def _clean(name: str) -> str:
    return os.path.normpath(name.lstrip("/"))
