"""The blobs of one export on their way: each is sent once, whoever asks for it, and however often."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from trimaran import aio
from trimaran.caches.config import CacheConfig
from trimaran.caches.options import ExportOptions, LocalExport, RegistryExport, S3Export
from trimaran.digest import Digest
from trimaran.events import Progress, Sink
from trimaran.oci.copy import PARALLEL
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.client import Registry
from trimaran.sources.given import KeySource
from trimaran.store.store import Store

Export = RegistryExport | LocalExport | S3Export


class Target(Protocol):
    """Where a cache is written to, under the name it shall have."""

    async def put(self, blob: Descriptor) -> bool:
        """See to it that the blob is there; False when it was."""
        ...

    async def write(self, config: CacheConfig, sending: Sending, progress: Progress) -> Descriptor | None:
        """Blobs, then the config, then what the name means. The manifest; None where there is none (a bucket)."""
        ...


class Sending:
    """`export` into its target, which is made when it is first needed; `keys` are those of signed caches."""

    def __init__(
        self, export: Export, store: Store, registry: Registry, sink: Sink, keys: Mapping[KeySource, bytes]
    ) -> None:
        self.export = export
        self._keys = keys
        self._store = store
        self._registry = registry
        self._sink = sink
        self._made: Target | None = None
        self._once = aio.Once()
        self._sent: set[Digest] = set()

    @property
    def may_begin_early(self) -> bool:
        """Whether blobs of a build that then fails do no harm there: in a person's folder they would."""
        return not isinstance(self.export, LocalExport)

    async def target(self) -> Target:
        if self._made is None:
            self._made = await self._make()
        return self._made

    async def _make(self) -> Target:
        export, keys = self.export, self._keys
        if isinstance(export, S3Export):
            from trimaran.caches import s3

            signers = {name: s3.signer(export, name, keys) for name in export.names}
            return s3.BucketTarget(export, self._store, self._registry, signers)
        if isinstance(export, RegistryExport):
            from trimaran.caches import registry

            signer = registry.signer(export, keys)
            return registry.RegistryTarget(export, self._store, self._registry, self._sink, signer)
        from trimaran.caches import local

        return await local.LocalTarget.of(export, self._store, self._registry, local.signer(export, keys))

    async def send(self, blob: Descriptor) -> bool:
        """False when it was there. Who asks for what is being sent waits for that."""
        if blob.digest in self._sent:
            return False
        target = await self.target()
        moved = await self._once.run(blob.digest, lambda: target.put(blob))
        self._sent.add(blob.digest)
        return moved

    async def send_all(self, blobs: Sequence[Descriptor], progress: Progress, *, parallel: int = PARALLEL) -> None:
        """Each once, a few at a time, from wherever it is."""
        slots = asyncio.Semaphore(parallel)

        async def send(blob: Descriptor) -> None:
            async with slots:
                with progress.task(f"writing layer {blob.digest}", blob.size) as task:
                    if await self.send(blob):
                        task.add(blob.size)

        unique = {blob.digest: blob.plain() for blob in blobs}
        await aio.all_of(send(blob) for blob in unique.values())


WORDS: dict[type[ExportOptions], str] = {
    RegistryExport: "registry",
    LocalExport: "client directory",
    S3Export: "Amazon S3",
}


def name_of(export: Export) -> str:
    """For people."""
    if isinstance(export, RegistryExport):
        return export.ref
    return export.dest if isinstance(export, LocalExport) else f"s3 bucket {export.bucket.bucket}"
