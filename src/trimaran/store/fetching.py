"""Pulling a layer: bytes from afar into the content, and in the same pass its list and (when wanted) its folder.

The network belongs to the loop, disk and decompression to one thread; a few chunks wait between them.
"""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Cancelled, Corrupt
from trimaran.events import Progress, Task
from trimaran.oci.blobs import CHUNK, Blobs
from trimaran.oci.descriptor import Descriptor
from trimaran.solver.protocols import ResultGone
from trimaran.store.content import BlobWriter, Content
from trimaran.store.decompression import decompress
from trimaran.store.entries import EntryList
from trimaran.store.holes import with_room
from trimaran.store.layer_places import Claim
from trimaran.store.layer_rows import LayerBlob, LayerId
from trimaran.store.making import damage_noticed, verified
from trimaran.store.removal import empty_folder
from trimaran.store.snapshots.lowers import mark_listed_whiteouts
from trimaran.store.unpack import read_layer

_AHEAD = 8
"""Chunks (of 1 MiB) that may wait for the disk."""


class _Feed:
    """A bounded way from the loop to a thread. `None` ends it; an error given by `fail` is raised at the reader."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._free = asyncio.Semaphore(_AHEAD)
        self._chunks: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()

    async def put(self, data: bytes) -> None:
        await self._free.acquire()
        self._chunks.put(data)

    def end(self, error: BaseException | None = None) -> None:
        self._chunks.put(error)

    def take(self) -> bytes:
        """For the thread: the next chunk, b"" at the end."""
        chunk = self._chunks.get()
        if chunk is None:
            self._chunks.put(None)
            return b""
        if isinstance(chunk, BaseException):
            raise chunk
        self.free()
        return chunk

    def free(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._free.release)
        except RuntimeError:
            return  # the loop is closed: nobody waits


async def pull(
    content: Content,
    source: Blobs,
    descriptor: Descriptor,
    diff_id: Digest,
    *,
    folder: str | None,
    progress: Progress | None,
    user_xattrs: bool,
) -> EntryList:
    """Bring the blob here, verified by digest, size and diff id, unpacked into `folder` when given; its list.

    A source that only promises blobs has a method `broken`: it says what is to be raised for wrong bytes.
    """
    try:
        return await _pull(content, source, descriptor, diff_id, folder, progress, user_xattrs=user_xattrs)
    except Corrupt as error:
        broken = getattr(source, "broken", None)
        if broken is None:
            raise
        raise broken(error) from error


async def _pull(
    content: Content,
    source: Blobs,
    descriptor: Descriptor,
    diff_id: Digest,
    folder: str | None,
    progress: Progress | None,
    *,
    user_xattrs: bool,
) -> EntryList:
    with ExitStack() as stack:
        task = stack.enter_context(progress.task(str(descriptor.digest), descriptor.size)) if progress else None
        receive = partial(_receive, content=content, folder=folder, user_xattrs=user_xattrs)
        return await _through(receive, source, descriptor, diff_id, task)


async def list_blob(source: Blobs, descriptor: Descriptor, diff_id: Digest) -> EntryList:
    """The list of a layer wherever its blob is, verified by diff id; nothing of it is kept."""
    return await _through(_list, source, descriptor, diff_id, None)


async def _through(
    receive: Callable[[Cancel, _Feed, Descriptor, Digest], EntryList],
    source: Blobs,
    descriptor: Descriptor,
    diff_id: Digest,
    task: Task | None,
) -> EntryList:
    feed = _Feed()
    async with aio.TaskGroup() as group:
        work = group.start(aio.in_thread(receive, feed, descriptor, diff_id))
        try:
            await _send(source, descriptor, feed, work, task)
        except BaseException as error:
            feed.end(error if isinstance(error, Exception) else Cancelled("cancelled"))
            raise
    return work.result()


async def _send(
    source: Blobs, descriptor: Descriptor, feed: _Feed, work: asyncio.Task[EntryList], task: Task | None
) -> None:
    async with source.read(descriptor) as reader:
        while data := await reader.read(CHUNK):
            if work.done():
                return
            await feed.put(data)
            if task is not None:
                task.add(len(data))
    feed.end()


def _list(cancel: Cancel, feed: _Feed, descriptor: Descriptor, diff_id: Digest) -> EntryList:
    try:
        read = _tee(cancel, feed, None)
        listed = read_layer(cancel, decompress(read))
        while read(CHUNK):
            pass
    finally:
        _let_go(feed)
    _check(descriptor, listed.diff_id, diff_id)
    return listed.entries


def _let_go(feed: _Feed) -> None:
    """Whoever waits to put sees that we are done."""
    for _ in range(_AHEAD):
        feed.free()


def _check(descriptor: Descriptor, found: Digest, diff_id: Digest) -> None:
    if found != diff_id:
        raise Corrupt(f"pull layer {descriptor.digest}: its content is {found}, the image says {diff_id}")


def _receive(
    cancel: Cancel,
    feed: _Feed,
    descriptor: Descriptor,
    diff_id: Digest,
    *,
    content: Content,
    folder: str | None,
    user_xattrs: bool,
) -> EntryList:
    with content.writer(descriptor.media_type, descriptor) as blob:
        try:
            read = _tee(cancel, feed, blob)
            entries, found = _unpack(cancel, content, decompress(read), folder, user_xattrs=user_xattrs)
            while read(CHUNK):
                pass  # what follows the archive belongs to the blob too
        finally:
            _let_go(feed)
        _check(descriptor, found, diff_id)
        blob.commit(descriptor)
        return entries


def _tee(cancel: Cancel, feed: _Feed, blob: BlobWriter | None) -> Callable[[int], bytes]:
    waiting = memoryview(b"")

    def read(size: int) -> bytes:
        nonlocal waiting
        if not waiting:
            cancel.check()
            data = feed.take()
            if not data:
                return b""
            if blob is not None:
                blob.write(data)
            waiting = memoryview(data)
        piece, waiting = waiting[:size], waiting[size:]
        return bytes(piece)

    return read


def _unpack(
    cancel: Cancel, content: Content, read: Callable[[int], bytes], folder: str | None, *, user_xattrs: bool
) -> tuple[EntryList, Digest]:
    if folder is None:
        listed = read_layer(cancel, read)
        return listed.entries, listed.diff_id
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        asking = with_room(read, lambda size: content.ceiling.ask(cancel, size, "unpack layer"))
        unpacked = read_layer(cancel, asking, extract_to=fd, user_xattrs=user_xattrs)
        mark_listed_whiteouts(fd, unpacked.entries, user_xattrs=user_xattrs)
        return unpacked.entries, unpacked.diff_id
    finally:
        os.close(fd)


def unpack_blob(
    cancel: Cancel, content: Content, blob: LayerBlob, folder: str | None, *, user_xattrs: bool
) -> EntryList:
    """List (and unpack) a blob that is here, verified again."""
    fd = content.open(blob.descriptor.digest)
    try:
        read = verified(content, blob.descriptor, fd)
        with damage_noticed(content, blob.descriptor, fd):
            entries, found = _unpack(cancel, content, decompress(read), folder, user_xattrs=user_xattrs)
        while read(CHUNK):
            pass
    finally:
        os.close(fd)
    if found != blob.diff_id:
        raise Corrupt(f"unpack layer {blob.diff_id}: blob {blob.descriptor.digest} holds {found}")
    return entries


async def unpack_or_pull(
    content: Content,
    layer: LayerId,
    blob: LayerBlob | None,
    claims: Sequence[Claim],
    *,
    folder: str | None,
    progress: Progress | None,
    user_xattrs: bool,
) -> tuple[LayerBlob, EntryList]:
    """List (and unpack) `blob`, which was read before and is here; without it, or when its bytes are damaged, what is
    claimed first to hold the layer, here or afar. The blob that did. Corrupt when the claim is false; ResultGone.
    """
    tried = None if blob is not None else next(iter(claims), None)
    here = blob or (tried.blob if tried is not None else None)
    if here is not None and content.size(here.descriptor.digest) == here.descriptor.size:
        try:
            return here, await aio.in_thread(unpack_blob, content, here, folder, user_xattrs=user_xattrs)
        except Corrupt as error:
            if content.size(here.descriptor.digest) is not None:  # the bytes are what they were: it is the wrong blob
                raise (error if tried is None else tried.refusal(error)) from error
            if progress is not None:
                progress.warn(f"blob {here.descriptor.digest} was damaged on disk and is fetched or made again")
    afar = next((claim for claim in claims if claim.source is not None), None)
    if afar is None or afar.source is None:
        raise ResultGone(layer)
    if folder is not None:
        await aio.in_thread(empty_folder, folder)
    entries = await pull(
        content,
        afar.source,
        afar.blob.descriptor,
        afar.blob.diff_id,
        folder=folder,
        progress=progress,
        user_xattrs=user_xattrs,
    )
    return afar.blob, entries
