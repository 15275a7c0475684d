"""Garbage collection after a build: what is used least goes when the store is larger than the settings allow.

The rules are buildkitd's (reference §4.8): policies in order, each with what it may take and how far. The decision what
the policies are is pure; the store decides what fits them, and never takes what a live build has pinned.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from trimaran.aio import Cancel
from trimaran.settings import Settings, Space
from trimaran.solver.protocols import Eviction
from trimaran.store.store import Store

if TYPE_CHECKING:
    from trimaran.store.prune import PruneOptions

EVERY = 600
"""Seconds between two looks at a store that had room at the last one."""
_STAMP = "collected"
_GIB = 1 << 30
_DAY = 86_400 * 1_000_000_000
_FIRST_TO_GO = ("type==source.local", "type==exec.cachemount", "type==source.git.checkout")


def policies(settings: Settings, total: int, limit: int = 0) -> tuple[PruneOptions, ...]:
    """In order of use, for a disk of `total` bytes; none when collection is off. `limit` goes before the settings'."""
    from trimaran.store.prune import PruneOptions

    worker = settings.worker
    if not worker.gc:
        return ()
    limit = limit or settings.cache_limit.resolve(total)
    if worker.gc_policies:
        own = tuple(
            PruneOptions(
                all=policy.all,
                filters=policy.filters,
                keep_duration=policy.keep_duration * 1_000_000_000,
                reserved=policy.reserved_space.resolve(total),
                max_used=policy.max_used_space.resolve(total),
                min_free=policy.min_free_space.resolve(total),
            )
            for policy in worker.gc_policies
        )
        return (*own, PruneOptions(all=True, max_used=limit, whole=True)) if limit else own
    reserved = _or(worker.reserved_space, total, min(total // 10, 10 * _GIB))
    limits = PruneOptions(
        reserved=min(reserved, limit) if limit else reserved,
        max_used=limit or _or(worker.max_used_space, total, min(total * 8 // 10, 100 * _GIB)),
        min_free=_or(worker.min_free_space, total, total // 5),
        whole=bool(limit),
    )
    return (
        PruneOptions(filters=_FIRST_TO_GO, keep_duration=2 * _DAY, max_used=512_000_000),
        msgspec.structs.replace(limits, keep_duration=60 * _DAY),
        limits,
        msgspec.structs.replace(limits, all=True),
    )


def _or(space: Space, total: int, default: int) -> int:
    return space.resolve(total) or default


def collect(cancel: Cancel, store: Store, settings: Settings) -> int:
    """Free what the policies say; bytes freed. Looks once in EVERY seconds, or at once when the disk runs full."""
    freed = store.ceiling.settle(cancel)
    stamp = os.path.join(store.root, _STAMP)
    disk = os.statvfs(store.root)
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    if _is_fresh(stamp) and free > total // 20:
        return freed
    rules = policies(settings, total, store.ceiling.limit)
    if not rules:
        return freed
    for rule in rules:
        why = Eviction(cause="age" if rule.keep_duration else "limit", limit=rule.max_used or rule.reserved)
        for record in store.collector.prune(cancel, rule, why):
            freed += record.size
    with open(stamp, "wb"):
        os.utime(stamp)
    return freed


def _is_fresh(stamp: str) -> bool:
    try:
        return 0 <= time.time() - os.stat(stamp).st_mtime < EVERY
    except OSError:
        return False
