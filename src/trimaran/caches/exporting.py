"""Writing a cache: blobs the target lacks, then the config, then the manifest under its name.

Law: a cache is a help, not a product: it takes no longer than its deadline, and unless `ignore-error=false` says
otherwise its failure is one warning. Nothing is sent that is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from trimaran.caches.config import CacheConfig
from trimaran.caches.sending import WORDS, Export, Sending, name_of
from trimaran.digest import Digest
from trimaran.errors import TrimaranError, Unavailable
from trimaran.events import Progress, Sink, WarningEvent, vertex
from trimaran.oci.descriptor import Descriptor

Collect = Callable[[Export], Awaitable[CacheConfig]]
"""Makes the config of an export, and the blobs it names."""


async def export_cache(sending: Sending, collect: Collect, sink: Sink) -> Descriptor | None:
    """The cache's manifest; None when it failed and nobody insists, or has no manifest (a bucket)."""
    export = sending.export
    where = f"exporting cache to {WORDS[type(export)]}"
    own = Digest.of(f"{where} {name_of(export)}".encode())
    try:
        with vertex(sink, where, digest=own) as progress:
            try:
                async with asyncio.timeout(export.timeout):
                    return await _export(sending, collect, progress)
            except TimeoutError:
                raise Unavailable(
                    f"export cache to {name_of(export)}: not done within {export.timeout} s",
                    hint="timeout=SECONDS of --cache-to gives it more",
                ) from None
    except TrimaranError as error:
        if export.ignore_error is False:
            raise
        words = f"cache is not exported to {name_of(export)}: {error}"
        sink(WarningEvent(vertex=own, short=words.encode()))
        return None


async def _export(sending: Sending, collect: Collect, progress: Progress) -> Descriptor | None:
    with progress.task("preparing build cache for export"):
        config = await collect(sending.export)
    target = await sending.target()
    return await target.write(config, sending, progress)
