"""Making a layer's blob or folder from its entry list, in one pass each; for disk functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.events import Progress, Task
from trimaran.oci.descriptor import Descriptor
from trimaran.store.compression import Compression
from trimaran.store.content import BlobWriter, Content
from trimaran.store.decompression import decompress
from trimaran.store.disk import disk_errors
from trimaran.store.encoders import compressed
from trimaran.store.entries import FILE, FOLDER, Entry, EntryList
from trimaran.store.lanes import Lane
from trimaran.store.layer_rows import LayerBlob
from trimaran.store.render import write_layer, write_snapshot
from trimaran.store.snapshots.lowers import mark_listed_whiteouts

_CHUNK = 1 << 20
_BLOCK = 4096


def render(
    cancel: Cancel,
    content: Content,
    entries: EntryList,
    open_file: Callable[[str], int],
    *,
    compression: Compression,
    spare: bool,
    progress: Progress | None,
) -> tuple[LayerBlob, Mapping[str, Digest]]:
    """List and files → tar → hash → compress → hash → blob; also the content digests the list did not have yet."""
    with content.writer(compression.media_type(), spare=spare) as blob:
        write = blob.write
        if progress is not None:
            with progress.task("exporting layers") as task:
                return _render(cancel, blob, _counted(write, task), entries, open_file, compression=compression)
        return _render(cancel, blob, write, entries, open_file, compression=compression)


def _render(
    cancel: Cancel,
    blob: BlobWriter,
    write: Callable[[bytes], None],
    entries: EntryList,
    open_file: Callable[[str], int],
    *,
    compression: Compression,
) -> tuple[LayerBlob, Mapping[str, Digest]]:
    with compressed(cancel, write, compression) as encode:
        rendered = write_layer(cancel, entries, lambda entry: open_file(entry.path), encode)
    return LayerBlob(blob.commit(), Digest(rendered.diff_id)), rendered.digests


def _counted(write: Callable[[bytes], None], task: Task) -> Callable[[bytes], None]:
    def counting(data: bytes) -> None:
        write(data)
        task.add(len(data))

    return counting


def recompress(
    cancel: Cancel, content: Content, blob: LayerBlob, compression: Compression, *, spare: bool
) -> Descriptor:
    """The same tar bytes in another compression; Corrupt when they are not those of the diff id."""
    hasher = blob.diff_id.hasher()
    fd = content.open(blob.descriptor.digest)
    try:
        with (
            damage_noticed(content, blob.descriptor, fd),
            content.writer(compression.media_type(), spare=spare) as writer,
        ):
            read = decompress(verified(content, blob.descriptor, fd))
            with Lane(hasher.update) as hashing, compressed(cancel, writer.write, compression) as encode:
                while data := read(_CHUNK):
                    hashing.put(data)
                    encode(data)
            if hasher.hexdigest() != blob.diff_id.hex:
                raise Corrupt(f"read layer {blob.diff_id}: blob {blob.descriptor.digest} holds other content")
            return writer.commit()
    finally:
        os.close(fd)


def verified(content: Content, descriptor: Descriptor, fd: int) -> Callable[[int], bytes]:
    """Read a blob of the content in a disk thread; what ends in b"" was of the right digest and size."""
    hasher = descriptor.digest.hasher()
    done = 0

    def read(size: int) -> bytes:
        nonlocal done
        data = os.read(fd, size)
        hasher.update(data)
        done += len(data)
        if not data and (done != descriptor.size or hasher.hexdigest() != descriptor.digest.hex):
            content.forget(descriptor.digest)
            raise Corrupt(
                f"read blob {descriptor.digest}: its bytes changed on disk", hint="run the same command again"
            )
        return data

    return read


@contextmanager
def damage_noticed(content: Content, descriptor: Descriptor, fd: int) -> Iterator[None]:
    """When reading a blob fails half-way, find out whether its bytes are to blame, and drop it then."""
    try:
        yield
    except Corrupt:
        os.lseek(fd, 0, os.SEEK_SET)
        read = verified(content, descriptor, fd)
        while read(_CHUNK):
            pass
        raise


def folder_size(entries: EntryList) -> int:
    """Bytes the list's folder will take on disk, about: a block for each folder, whole blocks for files."""
    files = sum((entry.size + _BLOCK - 1) // _BLOCK for entry in entries if entry.kind == FILE)
    return (files + sum(entry.kind == FOLDER for entry in entries)) * _BLOCK


def render_folder(
    cancel: Cancel, entries: EntryList, open_file: Callable[[str], int], folder: str, *, user_xattrs: bool
) -> Mapping[str, Digest]:
    """List and files → overlay-ready folder; the content digests the list did not have yet."""

    def open_entry(entry: Entry) -> int:
        return open_file(entry.path)

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with disk_errors("write snapshot"):
            digests = write_snapshot(cancel, entries, open_entry, fd, user_xattrs=user_xattrs).digests
            mark_listed_whiteouts(fd, entries, user_xattrs=user_xattrs)
            return digests
    finally:
        os.close(fd)
