"""Copying an image from any place with content to any other: children first, side by side, nothing that is there.

Law: a manifest is written when all it names is at the target, so that a killed copy leaves no image with holes.
A blob whose transfer broke is begun again; a target that can take it up where it broke does so by itself.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from trimaran import aio
from trimaran.errors import Corrupt, Unavailable
from trimaran.events import Progress, Task
from trimaran.oci import documents, media_types
from trimaran.oci import index as indexes
from trimaran.oci.backoff import Budget
from trimaran.oci.blobs import CHUNK, Blobs, is_present, read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.manifest import CHILDREN_LIMIT

#: Transfers at the same time (buildkitd's maxRegistryConcurrency default).
PARALLEL = 4
_DEPTH_LIMIT = 8
_DOCUMENTS_LIMIT = 256 << 20
"""Bytes of all manifests and indexes of one image: they are held in memory (T37)."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What an image consists of: `documents` (manifests and indexes with their bytes) children first; `blobs` once."""

    documents: tuple[tuple[Descriptor, bytes], ...]
    blobs: tuple[Descriptor, ...]


async def content_of(
    root: Descriptor, source: Blobs, *, wanted: Callable[[Descriptor], bool] = lambda _: True
) -> Content:
    """Everything under `root`; children of an index that are not `wanted` are left out. Reads documents only.

    Corrupt when there are too many of them, before they are read: one index may name thousands, and each of those, too.
    """
    size = 0
    found: dict[str, tuple[Descriptor, bytes]] = {}
    blobs: dict[str, Descriptor] = {}
    level = [root.plain()]
    for depth in itertools.count():
        if not level:
            break
        if depth > _DEPTH_LIMIT:
            raise Corrupt(f"read {root.digest}: indexes in indexes, more than {_DEPTH_LIMIT} deep")
        if len({*found, *(each.digest for each in level)}) > CHILDREN_LIMIT + 1:
            raise Corrupt(f"read {root.digest}: more than {CHILDREN_LIMIT} manifests are under it")
        size += sum(each.size for each in level)
        if size > _DOCUMENTS_LIMIT:
            raise Corrupt(f"read {root.digest}: manifests of more than {_DOCUMENTS_LIMIT} bytes are under it")
        following: list[Descriptor] = []
        raws = await aio.all_of(read_all(source, each, limit=documents.MANIFEST_LIMIT) for each in level)
        for descriptor, raw in zip(level, raws, strict=True):
            # a document reached again on a deeper level must come before the shallower ones, too: re-insert it
            found.pop(descriptor.digest, None)
            found[descriptor.digest] = (descriptor, raw)
            for child in indexes.parse_any(raw, descriptor.media_type).children:
                if child.media_type in media_types.MANIFESTS | media_types.INDEXES:
                    if wanted(child):
                        following.append(child.plain())
                elif not media_types.is_nondistributable(child.media_type):
                    blobs.setdefault(child.digest, child)
        level = list({each.digest: each for each in following}.values())
    return Content(documents=tuple(reversed(found.values())), blobs=tuple(blobs.values()))


async def copy_image(
    root: Descriptor,
    source: Blobs,
    target: Blobs,
    *,
    parallel: int = PARALLEL,
    wanted: Callable[[Descriptor], bool] = lambda _: True,
    progress: Progress | None = None,
) -> None:
    """Make everything under `root` (a manifest or index) be at `target`; what is there is not moved.

    Non-distributable layers stay where they are. `progress` gets a row per blob that moves.
    """
    content = await content_of(root, source, wanted=wanted)
    await copy_blobs(content.blobs, source, target, parallel=parallel, progress=progress)
    images = [each for each in content.documents if media_types.is_manifest(each[0].media_type)]
    await aio.all_of(write_blob(descriptor, raw, target) for descriptor, raw in images)
    for descriptor, raw in content.documents:
        if media_types.is_index(descriptor.media_type):
            await write_blob(descriptor, raw, target)


async def copy_blobs(
    descriptors: Sequence[Descriptor],
    source: Blobs,
    target: Blobs,
    *,
    parallel: int = PARALLEL,
    progress: Progress | None = None,
) -> None:
    """Copy many blobs, `parallel` at a time."""
    slots = asyncio.Semaphore(parallel)

    async def one(descriptor: Descriptor) -> None:
        async with slots:
            await copy_blob(descriptor, source, target, progress=progress)

    await aio.all_of(one(descriptor) for descriptor in descriptors)


async def copy_blob(descriptor: Descriptor, source: Blobs, target: Blobs, *, progress: Progress | None = None) -> bool:
    """Copy one blob; False when nothing had to be moved. Unavailable once trying again has not helped."""
    budget = Budget(seconds=900)
    while True:
        try:
            if await target.has(descriptor):
                return False
            async with target.ingest(descriptor.media_type, descriptor) as sink:
                if is_present(sink):
                    await sink.commit(descriptor)
                    return False
                if progress is None:
                    await _pump(descriptor, source, sink.write, None)
                else:
                    with progress.task(str(descriptor.digest), descriptor.size) as task:
                        await _pump(descriptor, source, sink.write, task)
                await sink.commit(descriptor)
                return True
        except Unavailable as error:
            await budget.wait(error)


async def _pump(
    descriptor: Descriptor, source: Blobs, write: Callable[[bytes], Awaitable[None]], task: Task | None
) -> None:
    async with source.read(descriptor) as reader:
        while chunk := await reader.read(CHUNK):
            await write(chunk)
            if task is not None:
                task.add(len(chunk))


async def write_blob(descriptor: Descriptor, raw: bytes, target: Blobs) -> None:
    """Bytes in hand, written unless they are there."""
    budget = Budget()
    while True:
        try:
            if await target.has(descriptor):
                return
            async with target.ingest(descriptor.media_type, descriptor) as sink:
                if not is_present(sink):
                    await sink.write(raw)
                await sink.commit(descriptor)
                return
        except Unavailable as error:
            await budget.wait(error)
