"""An OCI image layout folder (OCI image-spec, image-layout.md): a place with content, and names in its index.json.

Law: a blob appears under its name only whole, verified and on disk; index.json is replaced at once, under a lock on the
folder. What is written or removed is so by names relative to descriptors of folders that no link led to. Blobs that are
links to files are read (Bazel's layouts are made of them): their bytes are verified. Pipes and devices are not opened.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Conflict, Corrupt, Denied, NotFound, Unavailable, UsageError
from trimaran.linux.paths import open_regular
from trimaran.oci import documents, media_types
from trimaran.oci import index as indexes
from trimaran.oci.blobs import CHUNK
from trimaran.oci.descriptor import Descriptor, to_wire
from trimaran.oci.index import Index

VERSION = b'{"imageLayoutVersion":"1.0.0"}'
IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
CREATED = "org.opencontainers.image.created"
#: Up to this many bytes are read and written on the loop: a hop to a thread costs more.
_INLINE = 64 << 10
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def named(root: Descriptor, names: tuple[str, ...], created: str = "") -> tuple[Descriptor, ...]:
    """The entries of index.json for an image: one per name, as containerd and BuildKit annotate them (pure).

    `names` are full references; `created` an RFC 3339 time. Without names it is one entry.
    """
    entries = []
    for name in names or ("",):
        annotations = dict(root.annotations)
        if name:
            annotations[IMAGE_NAME] = name
            annotations[REF_NAME] = ref_name(name)
        if created:
            annotations[CREATED] = created
        entries.append(msgspec.structs.replace(root, annotations=tuple(sorted(annotations.items()))))
    return tuple(entries)


def ref_name(name: str) -> str:
    """The `ref.name` of a full reference: its digest, else its tag (containerd's ociReferenceName)."""
    rest, at, digest = name.partition("@")
    if at:
        return digest
    tag = rest.rpartition("/")[2].partition(":")[2]
    return tag or name


def encode_index(entries: tuple[Descriptor, ...]) -> bytes:
    """The bytes of an index.json, as BuildKit writes it (compact)."""
    wire: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX}
    wire["manifests"] = [to_wire(entry) for entry in entries]
    return documents.encode(wire)


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{what}: not there") from None
    except PermissionError as error:
        raise Denied(f"{what}: {(error.strerror or '').lower()}") from None
    except OSError as error:
        raise Unavailable(f"{what}: {(error.strerror or str(error)).lower()}") from None


class Layout:
    """A layout on disk. `create` makes it where there is none, `open` wants one there."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Layout({self.path!r})"

    @classmethod
    async def create(cls, path: str) -> Layout:
        """The layout at `path`, made when the folder is empty or not there; UsageError in a folder of other things."""
        await aio.in_thread(_create, path)
        return cls(path)

    @classmethod
    async def open(cls, path: str) -> Layout:
        """The layout at `path`; UsageError when there is none."""
        await aio.in_thread(_check_layout, path)
        return cls(path)

    # -- content --------------------------------------------------------------------------------------------------

    def _blobs_folder(self, digest: Digest) -> str:
        return os.path.join(self.path, "blobs", digest.algorithm)

    async def has(self, descriptor: Descriptor) -> bool:
        try:
            status = os.stat(os.path.join(self._blobs_folder(descriptor.digest), descriptor.digest.hex))
        except OSError:
            return False
        return status.st_size == descriptor.size

    @asynccontextmanager
    async def read(self, descriptor: Descriptor) -> AsyncIterator[FileReader]:
        path = os.path.join(self._blobs_folder(descriptor.digest), descriptor.digest.hex)
        with _mapped(f"read {descriptor.digest} in {self.path}"):
            fd = open_regular(path)
        try:
            yield FileReader(fd, descriptor)
        finally:
            os.close(fd)

    @asynccontextmanager
    async def ingest(self, media_type: str, expected: Descriptor | None = None) -> AsyncIterator[LayoutSink]:
        algorithm = expected.digest.algorithm if expected is not None else "sha256"
        with _mapped(f"write into {self.path}"):
            folder_fd = _blobs_to_write(self.path, algorithm)
        sink = None
        try:
            with _mapped(f"write into {self.path}"):
                sink = LayoutSink(folder_fd, media_type, expected)
            yield sink
        finally:
            if sink is not None:
                sink.close()
            os.close(folder_fd)

    # -- names ----------------------------------------------------------------------------------------------------

    async def index(self) -> Index:
        """What index.json lists."""
        return await aio.in_thread(_read_index, self.path)

    async def find(self, name: str = "", digest: Digest | None = None) -> Descriptor:
        """The image of a name (full reference, or `ref.name`), a digest, or the only one; NotFound lists what is."""
        index = await self.index()
        if digest is not None:
            found = [each for each in index.manifests if each.digest == digest]
        elif name:
            found = [
                each for each in index.manifests if name in (each.annotation(IMAGE_NAME), each.annotation(REF_NAME))
            ]
        else:
            found = list({each.digest: each for each in index.manifests}.values())
            if len(found) > 1:
                raise UsageError(f"read {self.path}: it holds {len(found)} images", hint=f"name one of {_names(index)}")
        if not found:
            raise NotFound(f"find {digest or name or 'an image'} in {self.path}", hint=f"it has {_names(index)}")
        return found[0]

    async def name(self, root: Descriptor, names: tuple[str, ...] = (), *, created: str = "") -> None:
        """List `root` in index.json under `names`; what had one of them before loses it."""
        await aio.in_thread(_replace_entries, self.path, named(root, names, created))

    async def keep_only(self, digests: set[Digest]) -> None:
        """Remove every other entry of index.json, and every other blob."""
        await aio.in_thread(_keep_only, self.path, digests)


def _names(index: Index) -> str:
    listed = [each.annotation(IMAGE_NAME) or each.annotation(REF_NAME) or str(each.digest) for each in index.manifests]
    return ", ".join(listed) or "nothing"


class FileReader:
    """A `Reader` over an open file."""

    def __init__(self, fd: int, descriptor: Descriptor) -> None:
        self._fd = fd
        self._descriptor = descriptor
        self._hasher = descriptor.digest.hasher()
        self._size = 0

    async def read(self, size: int = CHUNK) -> bytes:
        if self._descriptor.size <= _INLINE:
            return self._read(size)
        return await aio.in_thread(lambda _cancel: self._read(size))

    def _read(self, size: int) -> bytes:
        with _mapped(f"read {self._descriptor.digest}"):
            chunk = os.read(self._fd, size)
        self._hasher.update(chunk)
        self._size += len(chunk)
        at_end = not chunk
        if self._size > self._descriptor.size or (at_end and not self._is_right()):
            raise Corrupt(f"read {self._descriptor.digest}: the file holds other bytes")
        return chunk

    def _is_right(self) -> bool:
        return self._size == self._descriptor.size and Digest.of_hash(self._hasher) == self._descriptor.digest


class LayoutSink:
    """A `Sink` that writes beside the blobs and renames at `commit`."""

    def __init__(self, folder_fd: int, media_type: str, expected: Descriptor | None) -> None:
        self._folder_fd = folder_fd
        self._media_type = media_type
        self._expected = expected
        self._hasher: Any = (expected.digest if expected else Digest.of(b"")).hasher()
        self._size = 0
        self._name = f".{os.getpid()}-{os.urandom(8).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(self._name, flags, 0o644, dir_fd=folder_fd)

    async def write(self, data: bytes) -> None:
        if len(data) <= _INLINE:
            self._write(data)
        else:
            await aio.in_thread(lambda _cancel: self._write(data))

    def _write(self, data: bytes) -> None:
        self._hasher.update(data)
        view = memoryview(data)
        with _mapped("write blob"):
            while view:
                view = view[os.write(self._fd, view) :]
        self._size += len(data)

    async def commit(self, expected: Descriptor | None = None) -> Descriptor:
        found = Descriptor(media_type=self._media_type, digest=Digest.of_hash(self._hasher), size=self._size)
        for wanted in (self._expected, expected):
            if wanted is not None and (wanted.digest, wanted.size) != (found.digest, found.size):
                raise Corrupt(f"write {wanted.digest}: got {found.size} bytes of {found.digest}")
        await aio.in_thread(self._commit, found.digest)
        return found

    def _commit(self, cancel: Cancel, digest: Digest) -> None:
        cancel.check()
        with _mapped(f"write {digest}"):
            os.fsync(self._fd)
            os.rename(self._name, digest.hex, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
            self._name = ""
            os.fsync(self._folder_fd)

    def close(self) -> None:
        os.close(self._fd)
        if self._name:
            os.unlink(self._name, dir_fd=self._folder_fd)


# -- disk functions: sync, run in a thread ----------------------------------------------------------------------------


def _blobs_to_write(path: str, algorithm: str) -> int:
    """The folder of an algorithm's blobs, made where missing; whoever filled `path` cannot lead it elsewhere."""
    above = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in ("blobs", algorithm):
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o775, dir_fd=above)
            folder = os.open(name, _FOLDER, dir_fd=above)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                raise
            raise Conflict(f"write into {path}: {name} is no folder of its own", hint="remove it") from None
        finally:
            os.close(above)
        above = folder
    return above


def _create(cancel: Cancel, path: str) -> None:
    with _mapped(f"make layout {path}"):
        os.makedirs(path, exist_ok=True)
        names = os.listdir(path)
    if "oci-layout" in names:
        _check_layout(cancel, path)
        return
    if names:
        raise UsageError(f"make layout {path}: the folder holds other things", hint="give an empty folder or a layout")
    with _locked(path) as folder:
        with _mapped(f"make layout {path}"):
            os.close(_blobs_to_write(path, "sha256"))
        if "index.json" not in os.listdir(folder):
            _replace(folder, "index.json", encode_index(()))
        _replace(folder, "oci-layout", VERSION)


def _check_layout(_cancel: Cancel, path: str) -> None:
    try:
        with os.fdopen(open_regular(os.path.join(path, "oci-layout")), "rb") as file:
            raw = file.read(1 << 16)
    except OSError:
        if not os.path.isdir(path):
            raise UsageError(f"read layout {path}: no such folder") from None
        raise UsageError(
            f"read layout {path}: there is no oci-layout file", hint="is it the folder of a layout?"
        ) from None
    check_version(raw, path)


def check_version(raw: bytes, path: str) -> None:
    """Corrupt unless `raw` is the oci-layout file of a version we know."""
    version = documents.check(raw, f"{path}/oci-layout").get("imageLayoutVersion")
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        raise Corrupt(f"read layout {path}: layout version {version!r} is not 1.x")


@contextmanager
def _locked(path: str) -> Iterator[int]:
    """A descriptor of the folder, locked against other writers of its index."""
    with _mapped(f"open layout {path}"):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _mapped(f"lock layout {path}"):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def _replace(folder: int, name: str, raw: bytes) -> None:
    temporary = f".{name}.{os.getpid()}-{os.urandom(8).hex()}"
    with _mapped(f"write {name}"):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)


def _read_index(_cancel: Cancel, path: str) -> Index:
    with _mapped(f"read {path}/index.json"), os.fdopen(open_regular(os.path.join(path, "index.json")), "rb") as file:
        raw = file.read(documents.MANIFEST_LIMIT + 1)
    try:
        return indexes.parse(raw)
    except Corrupt as error:
        raise Corrupt(f"read {path}/index.json: {error.message}") from None


def _replace_entries(cancel: Cancel, path: str, entries: tuple[Descriptor, ...]) -> None:
    with _locked(path) as folder:
        try:
            present = _read_index(cancel, path).manifests
        except NotFound:
            present = ()
        taken = {entry.annotation(IMAGE_NAME) or entry.annotation(REF_NAME) for entry in entries} - {""}
        kept = [
            each
            for each in present
            if (each.annotation(IMAGE_NAME) or each.annotation(REF_NAME)) not in taken
            and not (not each.annotation(IMAGE_NAME) and each.digest in {entry.digest for entry in entries})
        ]
        _replace(folder, "index.json", encode_index((*kept, *entries)))


def _keep_only(cancel: Cancel, path: str, digests: set[Digest]) -> None:
    with _locked(path) as folder, _mapped(f"clean layout {path}"):
        kept = tuple(each for each in _read_index(cancel, path).manifests if each.digest in digests)
        _replace(folder, "index.json", encode_index(kept))
        wanted = {digest.hex for digest in digests}
        blobs = _blobs_to_write(path, "sha256")
        try:
            for name in os.listdir(blobs):
                cancel.check()
                if name not in wanted:
                    os.unlink(name, dir_fd=blobs)
        finally:
            os.close(blobs)
