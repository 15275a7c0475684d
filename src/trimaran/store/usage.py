"""What the store holds and what that costs: a record per layer with bytes, with the fields of BuildKit's UsageInfo."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import msgspec

from trimaran.aio import Cancel
from trimaran.store import repositories
from trimaran.store.cache_mounts import listed
from trimaran.store.database import Database, marks
from trimaran.store.last_use import LAYER, LastUse
from trimaran.store.packing import unpack
from trimaran.store.pins import live_pins
from trimaran.store.remembered import DESCRIPTION, REMEMBERED, remembered
from trimaran.store.removal import disk_usage

REGULAR = "regular"
INTERNAL = "internal"
CACHE_MOUNT = "exec.cachemount"
GIT_REPOSITORY = "source.git.checkout"


TEMPORARY = "temporary files"
"""What running builds are writing, and what killed ones left for the next sweep."""


class _Maker(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What of a `CacheRecord` is wanted here: the rest is skipped undecoded."""

    results: tuple[tuple[str, ...], ...]
    description: str = ""
    seconds: float = 0.0


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    id: str
    parents: tuple[str, ...] = ()
    created: int = 0
    """Nanoseconds since the epoch, as `last_used` (0: never since it was made)."""
    last_used: int = 0
    usage_count: int = 0
    size: int = 0
    """Bytes on disk (st_blocks): folder and blobs."""
    kept: int = 0
    """Of `size`, what stays when the record goes: blobs of named images."""
    in_use: bool = False
    shared: bool = False
    """A named image has its blob."""
    mutable: bool = False
    type: str = REGULAR
    description: str = ""
    seconds: float = 0.0
    """What making it took."""

    @property
    def reclaimable(self) -> bool:
        return not self.in_use


def usage(cancel: Cancel, root: str, database: Database, last_use: LastUse) -> list[UsageRecord]:
    """All records, largest first; together they are what the store takes on disk (st_blocks), metadata included.

    A layer's folder is measured once, by walking it; cache mounts, git repositories and logs each time.
    """
    layers = _Layers(cancel, root, database)
    pins = live_pins(root)
    used = last_use.of(LAYER)
    made = _made(database)
    pulled = dict(
        database.query("SELECT layer, min(repository) FROM layer_blobs JOIN origins USING(digest) GROUP BY layer")
    )
    records = []
    rows = database.query("SELECT id, parents, created, description FROM layers WHERE NOT condemned")
    for layer, parents, created, description in rows:
        if layer not in layers.sizes:
            continue
        at, count = used.get(layer, (0, 0))
        text, seconds = made.get(layer, ("", 0.0))
        origin = f"pulled from {pulled[layer]}" if layer in pulled else text
        records.append(
            UsageRecord(
                id=layer,
                parents=tuple(parents.split())[-1:],
                created=created,
                last_used=at,
                usage_count=count,
                size=layers.sizes[layer],
                kept=layers.kept.get(layer, 0),
                in_use=f"layer:{layer}" in pins,
                shared=layer in layers.shared,
                description=description or origin,
                seconds=seconds,
            )
        )
    layers.claim(record.id for record in records)
    records += _cache_mounts(cancel, root, last_use)
    records += _repositories(cancel, root)
    records += _own(cancel, root, layers, *remembered(database))
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


class _Layers:
    """What layers take: `sizes` (those with bytes here), of which `kept` are blobs of named images."""

    def __init__(self, cancel: Cancel, root: str, database: Database) -> None:
        self._cancel = cancel
        self._root = root
        self._folders: dict[str, list[tuple[str, int]]] = {}
        self._blobs: dict[str, list[tuple[str, int]]] = {}
        self._unclaimed_blobs = blobs = _blob_sizes(root)
        self._unclaimed_folders = set(os.listdir(os.path.join(root, "snapshots")))
        self.sizes: dict[str, int] = {}
        self.kept: dict[str, int] = {}
        self.shared: set[str] = set()
        self._measure_folders(database)
        named = {digest for (digest,) in database.query("SELECT digest FROM image_blobs")}
        counted: set[str] = set()
        for layer, digest in database.query("SELECT layer, digest FROM layer_blobs ORDER BY layer"):
            if digest in named:
                self.shared.add(layer)
            if digest not in blobs:
                continue
            size = 0 if digest in counted else blobs[digest]  # one of several layers counts for the first
            counted.add(digest)
            self.sizes[layer] = self.sizes.get(layer, 0) + size
            self._blobs.setdefault(layer, []).append((digest, size))
            if digest in named:
                self.kept[layer] = self.kept.get(layer, 0) + size

    def _measure_folders(self, database: Database) -> None:
        measured: list[tuple[int, int]] = []
        for number, layer, size in database.query("SELECT number, layer, size FROM snapshots WHERE boot != ''"):
            if str(number) not in self._unclaimed_folders:
                continue
            if size < 0:
                size = disk_usage(self._cancel, os.path.join(self._root, "snapshots", str(number)))  # noqa: PLW2901
                measured.append((size, number))
            self.sizes[layer] = self.sizes.get(layer, 0) + size
            self._folders.setdefault(layer, []).append((str(number), size))
        if measured and not database.readonly:
            database.submit(lambda connection: _keep_sizes(connection, measured))

    def claim(self, layers: Iterable[str]) -> None:
        """These have a record of their own; the rest is `documents` and `unclaimed`."""
        for layer in layers:
            for digest, _ in self._blobs.get(layer, ()):
                self._unclaimed_blobs.pop(digest, None)
            self._unclaimed_folders.difference_update(name for name, _ in self._folders.get(layer, ()))

    def documents(self) -> int:
        return sum(self._unclaimed_blobs.values())

    def unclaimed(self) -> int:
        folder = os.path.join(self._root, "snapshots")
        return sum(disk_usage(self._cancel, os.path.join(folder, name)) for name in self._unclaimed_folders)


def _blob_sizes(root: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    folder = os.path.join(root, "blobs")
    for algorithm in os.listdir(folder):
        with os.scandir(os.path.join(folder, algorithm)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    sizes[f"{algorithm}:{entry.name}"] = entry.stat(follow_symlinks=False).st_blocks * 512
    return sizes


_MEASURED_APART = ("blobs", "snapshots", "cache-mounts", "git", "builds", "temp")


def _own(cancel: Cancel, root: str, layers: _Layers, known: int, used: int) -> list[UsageRecord]:
    """What is no layer, cache mount or repository: it has no age, and goes with what it belongs to.

    But for what is only remembered: `known` bytes of the databases, the latest of it `used` then.
    """
    folders = [
        os.path.join(root, name, below)
        for name in ("", *_MEASURED_APART)
        for below in (("sha256",) if name == "blobs" else ("",))
    ]
    bare = sum(
        os.lstat(path).st_blocks * 512 for path in (*folders, os.path.join(root, "blobs")) if os.path.isdir(path)
    )
    apart = [os.path.join(root, name) for name in os.listdir(root) if name not in _MEASURED_APART]
    gone = [
        os.path.join(root, name, below)
        for name in ("cache-mounts", "git")
        for below in (os.listdir(os.path.join(root, name)) if os.path.isdir(os.path.join(root, name)) else ())
        if below.startswith("gone-")
    ]
    databases = sum(disk_usage(cancel, path) for path in apart)
    known = min(known, databases)
    sizes = {
        "databases and locks": bare + databases - known,
        "image documents": layers.documents(),
        "logs of builds": _content_size(cancel, os.path.join(root, "builds")),
        TEMPORARY: _content_size(cancel, os.path.join(root, "temp"))
        + layers.unclaimed()
        + sum(disk_usage(cancel, path) for path in gone),
    }
    own = [
        UsageRecord(id=name.replace(" ", "-"), size=size, in_use=True, type=INTERNAL, description=name, mutable=True)
        for name, size in sizes.items()
        if size
    ]
    if known:
        own.append(UsageRecord(id=REMEMBERED, last_used=used, size=known, description=DESCRIPTION))
    return own


def _content_size(cancel: Cancel, folder: str) -> int:
    if not os.path.isdir(folder):
        return 0
    return disk_usage(cancel, folder) - os.lstat(folder).st_blocks * 512


def _keep_sizes(connection: sqlite3.Connection, measured: Sequence[tuple[int, int]]) -> None:
    connection.executemany("UPDATE snapshots SET size=? WHERE number=?", measured)


def _made(database: Database) -> Mapping[str, tuple[str, float]]:
    """Layer → what made it, and the seconds that took: the step whose record has it on top."""
    made: dict[str, tuple[str, float]] = {}
    for body in _bodies(database):
        try:
            record = unpack(body, _Maker)
        except msgspec.MsgspecError:
            continue
        for result in record.results:
            if result:
                text, seconds = made.get(result[-1], ("", 0.0))
                made[result[-1]] = (text or record.description, max(seconds, record.seconds))
    return made


def _bodies(database: Database) -> Iterator[bytes]:
    """Of all records, the oldest first; some at a time, since all at once are large."""
    numbers = [number for (number,) in database.query("SELECT rowid FROM records ORDER BY created")]
    for start in range(0, len(numbers), _SPAN):
        some = tuple(numbers[start : start + _SPAN])
        found = dict(database.query(f"SELECT rowid, body FROM records WHERE rowid IN ({marks(some)})", some))  # noqa: S608
        yield from (found[number] for number in some if number in found)


_SPAN = 200
