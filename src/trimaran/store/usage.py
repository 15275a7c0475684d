"""What the store holds and what that costs: a record per layer with bytes, with the fields of BuildKit's UsageInfo."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from trimaran.aio import Cancel
from trimaran.solver.protocols import CacheRecord
from trimaran.store import repositories
from trimaran.store.cache_mounts import listed
from trimaran.store.database import Database
from trimaran.store.last_use import LAYER, LastUse
from trimaran.store.packing import unpack
from trimaran.store.pins import live_pins
from trimaran.store.removal import disk_usage

REGULAR = "regular"
INTERNAL = "internal"
SOURCE_LOCAL = "source.local"
CACHE_MOUNT = "exec.cachemount"
GIT_REPOSITORY = "source.git.checkout"


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    parents: tuple[str, ...] = ()
    created: int = 0
    """Nanoseconds since the epoch, as `last_used` (0: never since it was made)."""
    last_used: int = 0
    usage_count: int = 0
    size: int = 0
    """Bytes on disk: folder (st_blocks) and blobs."""
    in_use: bool = False
    shared: bool = False
    """A named image has its blob."""
    mutable: bool = False
    type: str = REGULAR
    description: str = ""

    @property
    def reclaimable(self) -> bool:
        return not self.in_use


def usage(cancel: Cancel, root: str, database: Database, last_use: LastUse) -> list[UsageRecord]:
    """All records, largest first. A layer's folder is measured once, by walking it, a cache mount each time."""
    sizes = _sizes(cancel, root, database)
    pins = live_pins(root)
    used = last_use.of(LAYER)
    texts = _descriptions(database)
    shared = {row[0] for row in database.query("SELECT layer FROM layer_blobs JOIN image_blobs USING(digest)")}
    rows = database.query("SELECT id, parents, created, description FROM layers WHERE NOT condemned")
    records = []
    for layer, parents, created, description in rows:
        if layer not in sizes:
            continue
        at, count = used.get(layer, (0, 0))
        records.append(
            UsageRecord(
                id=layer,
                parents=tuple(parents.split())[-1:],
                created=created,
                last_used=at,
                usage_count=count,
                size=sizes[layer],
                in_use=f"layer:{layer}" in pins,
                shared=layer in shared,
                description=description or texts.get(layer, ""),
            )
        )
    records += _cache_mounts(cancel, root, last_use)
    records += _repositories(cancel, root)
    return sorted(records, key=lambda record: (-record.size, record.id))


def _cache_mounts(cancel: Cancel, root: str, last_use: LastUse) -> list[UsageRecord]:
    return [
        UsageRecord(
            id=mount.name,
            created=mount.created,
            last_used=mount.last_used,
            usage_count=mount.usage_count,
            size=mount.size,
            in_use=mount.in_use,
            mutable=True,
            type=CACHE_MOUNT,
            description=mount.description,
        )
        for mount in listed(cancel, root, last_use)
    ]


def _repositories(cancel: Cancel, root: str) -> list[UsageRecord]:
    return [
        UsageRecord(
            id=kept.name,
            created=kept.created,
            last_used=kept.last_used,
            size=kept.size,
            in_use=kept.in_use,
            mutable=True,
            type=GIT_REPOSITORY,
            description=f"git repository {kept.remote}",
        )
        for kept in repositories.listed(cancel, root)
    ]


def _sizes(cancel: Cancel, root: str, database: Database) -> dict[str, int]:
    """Layer → bytes, for layers that have any here. A blob of several layers counts for the first."""
    sizes: dict[str, int] = {}
    measured: list[tuple[int, int]] = []
    for number, layer, size in database.query("SELECT number, layer, size FROM snapshots WHERE boot != ''"):
        path = os.path.join(root, "snapshots", str(number))
        if size < 0:
            if not os.path.isdir(path):
                continue
            size = disk_usage(cancel, path)  # noqa: PLW2901 - measured now
            measured.append((size, number))
        sizes[layer] = sizes.get(layer, 0) + size
    if measured and not database.readonly:
        database.submit(lambda connection: _keep_sizes(connection, measured))
    counted: set[str] = set()
    rows = database.query("SELECT layer, digest, blobs.size FROM layer_blobs JOIN blobs USING(digest) ORDER BY layer")
    for layer, digest, size in rows:
        if digest not in counted:
            counted.add(digest)
            sizes[layer] = sizes.get(layer, 0) + size
        else:
            sizes.setdefault(layer, 0)
    return sizes


def _keep_sizes(connection: sqlite3.Connection, measured: Sequence[tuple[int, int]]) -> None:
    connection.executemany("UPDATE snapshots SET size=? WHERE number=?", measured)


def _descriptions(database: Database) -> Mapping[str, str]:
    """What made a layer: the step whose record has it on top, else where it was pulled from."""
    texts: dict[str, str] = {}
    rows = database.query("SELECT layer, min(repository) FROM layer_blobs JOIN origins USING(digest) GROUP BY layer")
    for layer, repository in rows:
        texts[layer] = f"pulled from {repository}"
    for (body,) in database.query("SELECT body FROM records ORDER BY created"):
        try:
            record = unpack(body, CacheRecord)
        except msgspec.MsgspecError:
            continue
        for result in record.results:
            if result and record.description:
                texts.setdefault(result[-1], record.description)
    return texts
