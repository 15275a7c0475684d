"""A process that works on a store and is killed at a named place. Usage: crash_worker.py ROOT WORK PLACE COUNT."""

from __future__ import annotations

import asyncio
import os
import sys

from test_images import image
from test_layers import archive, gzipped, listed, remote_layer

from trimaran.digest import Digest
from trimaran.solver.protocols import CacheRecord
from trimaran.store import failpoints
from trimaran.store.store import open_store

DATA = b"the blob " * 50_000
FILES = {"etc/passwd": b"root:x:0:0::/:/bin/sh\n", "big": b"x" * 300_000}


async def blob(store) -> None:
    async with store.content.ingest("text/plain") as sink:
        for start in range(0, len(DATA), 100_000):
            await sink.write(DATA[start : start + 100_000])
        await sink.commit()
    await store.sync()


async def copied(store) -> None:
    layer = await store.layers.add(*listed(FILES))
    await store.layers.settle([layer])
    await store.layers.folder(layer)
    await store.sync()


async def pulled(store) -> None:
    diff_id, descriptor, remote = remote_layer(FILES)
    layer = store.layers.register_remote(diff_id, descriptor, remote, "registry/base")
    await store.layers.folder(layer)
    await store.sync()


async def committed(store) -> None:
    folder = store.snapshots.folders.temporary()
    for name, data in FILES.items():
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    layer = await store.layers.add_upper(folder, ())
    key = Digest.of(b"key")
    store.records.save(CacheRecord(key=key, op=key, inputs=(), results=((layer,),)))
    await store.database.flush()
    failpoints.reached("record saved")
    await store.sync()


async def mounted(store) -> None:
    async with store.cache_mounts.hold("/cache", "shared") as folder:
        with open(os.path.join(folder, "kept"), "wb") as file:
            file.write(b"kept")


async def named(store) -> None:
    index, _ = await asyncio.to_thread(image, store)
    await store.images.put("app", index)
    await store.sync()


async def collected(store) -> None:
    from trimaran.aio import Cancel
    from trimaran.store.prune import PruneOptions

    list(store.collector.prune(Cancel(), PruneOptions(all=True)))


def salvaged(root: str) -> None:
    from trimaran.store.salvage import salvage

    salvage(root, ["store.db"])


WORKS = {"blob": blob, "copied": copied, "pulled": pulled, "committed": committed, "collected": collected}
WORKS |= {"mounted": mounted, "named": named}

__all__ = ["archive", "gzipped"]


def main(root: str, work: str, place: str, count: str) -> None:
    failpoints.hook = failpoints.failpoint(place, "kill", int(count))
    if work == "salvaged":
        salvaged(root)
        return
    with open_store(root) as store:
        asyncio.run(WORKS[work](store))


if __name__ == "__main__":
    main(*sys.argv[1:])
