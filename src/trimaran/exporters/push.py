"""Pushing an image: blobs the registry lacks, then manifests, children first, the tag last.

Law: nothing is sent that is there, mounted where the registry can, and streamed from wherever it lies: a base layer
that was never pulled goes from one registry to the other without touching the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from trimaran import aio
from trimaran.events import Progress, Task
from trimaran.exporters.assemble import Assembled
from trimaran.oci import media_types
from trimaran.oci.blobs import read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.reference import Reference
from trimaran.registry.client import Registry
from trimaran.registry.repository import Repository
from trimaran.sources.places import mountable, place_of
from trimaran.store.store import Store


async def push_image(
    store: Store,
    registry: Registry,
    image: Assembled,
    references: Sequence[Reference],
    *,
    by_digest: bool,
    insecure: bool,
    progress: Progress,
) -> None:
    """Push `image` under each name; names of one repository share what was sent. `by_digest`: no tag is written."""
    by_repository: dict[str, list[Reference]] = {}
    for reference in references:
        by_repository.setdefault(reference.name, []).append(reference)
    for names in by_repository.values():
        if insecure:
            registry.allow_insecure(names[0].registry)
        repository = registry.repository(names[0], sink=progress.sink)
        present = await repository.has(image.root)
        if not present:
            await _push_blobs(store, registry, repository, image, progress)
        await _push_documents(store, repository, image, () if by_digest else names, progress, present=present)


async def _push_blobs(
    store: Store, registry: Registry, repository: Repository, image: Assembled, progress: Progress
) -> None:
    wanted = [blob for blob in image.blobs if not media_types.is_nondistributable(blob.media_type)]
    for blob in wanted:
        repository.mount_from[blob.digest] = mountable(store, repository, blob.digest)
    with progress.task("pushing layers", sum(blob.size for blob in wanted)) as task:
        slots = asyncio.Semaphore(registry.settings.max_registry_concurrency)
        await aio.all_of(_push_blob(store, registry, repository, blob, slots, task) for blob in wanted)


async def _push_blob(
    store: Store,
    registry: Registry,
    repository: Repository,
    blob: Descriptor,
    slots: asyncio.Semaphore,
    task: Task,
) -> None:
    from trimaran.oci.copy import copy_blob

    async with slots:
        await copy_blob(blob, await place_of(store, registry, blob), repository)
    task.add(blob.size)


async def _push_documents(
    store: Store,
    repository: Repository,
    image: Assembled,
    names: Sequence[Reference],
    progress: Progress,
    *,
    present: bool,
) -> None:
    """`present`: the registry has the root, and took it only with all its children; what is left is the tags."""
    raw = {document.digest: await read_all(store.content, document) for document in image.documents}
    children = [document for document in image.documents if document != image.root and not present]
    title = names[0] if names else repository.reference
    with progress.task(f"pushing manifest for {title}@{image.root.digest}"):
        await aio.all_of(repository.put_manifest(raw[child.digest], child.media_type) for child in children)
        targets = [str(name.tag) for name in names] or [""]
        for target in targets:
            await repository.put_manifest(raw[image.root.digest], image.root.media_type, target)
