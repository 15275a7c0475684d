"""(device, inode, size, mtime, ctime) → content digest, so that files that did not change are not read again.

Git's racy rule: a file whose times are within two seconds of being hashed is not remembered, for a later change may
leave all its numbers equal. Never on network or FUSE file systems, also below others: their numbers promise nothing.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TypeVar

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import TrimaranError
from trimaran.store.database import Database, marks
from trimaran.store.folder import Folder, StatKey

T = TypeVar("T")

RACY = 2_000_000_000
"""Nanoseconds."""

_FEW = 200
"""Files that are hashed in one thread, whatever there is."""
_LITTLE = 8 << 20
"""Bytes, likewise."""
_SPAN = 400
# Magic numbers of <linux/magic.h>: file systems whose stat values are kept by a kernel on a disk or in memory.
_TRUSTED = frozenset({
    0xEF53,  # ext2, ext3, ext4
    0x58465342,  # xfs
    0x9123683E,  # btrfs
    0x01021994,  # tmpfs
    0xF2F52010,  # f2fs
    0x2FC12FC1,  # zfs
    0x3153464A,  # jfs
    0xCA451A4E,  # bcachefs
    0x794C7630,  # overlayfs, of which the lower file systems are asked by device number
})  # fmt: skip


class StatCache:
    """For disk functions. A cache that cannot be read or written is an empty one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._trusted: dict[int, bool] = {}

    def trusted(self, folder: Folder, keys: Mapping[str, StatKey]) -> Mapping[str, StatKey]:
        """Those of files whose own file system is trusted: others may be mounted below the folder."""
        devices = {key.device for key in keys.values()}
        strangers = {device for device in devices if not self._trusts(device, folder, keys)}
        return {path: key for path, key in keys.items() if key.device not in strangers} if strangers else keys

    def _trusts(self, device: int, folder: Folder, keys: Mapping[str, StatKey]) -> bool:
        known = self._trusted.get(device)
        if known is None:
            try:
                fd = folder.open(next(path for path, key in keys.items() if key.device == device))
            except TrimaranError:  # it went away: whoever hashes it will say so
                return False
            try:
                known = self._trusted[device] = _file_system(fd) in _TRUSTED and os.fstat(fd).st_dev == device
            finally:
                os.close(fd)
        return known

    def look_up(self, keys: Mapping[T, StatKey], names: Iterable[T] | None = None) -> dict[T, Digest]:
        """The digests known for these files as they are now, by whatever names they have for the caller.

        `names`: some of them, else all. 20,000 take about 30 ms.
        """
        found: dict[T, Digest] = {}
        by_device: dict[int, list[T]] = {}
        for name in keys if names is None else names:
            by_device.setdefault(keys[name].device, []).append(name)
        try:
            for device, wanted in by_device.items():
                for start in range(0, len(wanted), _SPAN):
                    some = [(name, keys[name]) for name in wanted[start : start + _SPAN]]
                    rows = self._rows(device, [_signed(key.inode) for _, key in some])
                    for name, key in some:
                        digest = rows.get((_signed(key.inode), key.size, key.mtime, key.ctime))
                        if digest is not None:
                            found[name] = Digest("sha256:" + digest.hex())
        except TrimaranError:
            return found
        return found

    def _rows(self, device: int, inodes: list[int]) -> dict[tuple[int, int, int, int], bytes]:
        rows = self._database.query(
            f"SELECT inode, size, mtime, ctime, digest FROM fast.stat WHERE device=? AND inode IN ({marks(inodes)})",  # noqa: S608
            (_signed(device), *inodes),
        )
        return {row[:4]: row[4] for row in rows}

    def remember(self, hashed: Iterable[tuple[StatKey, Digest]], *, began: int | None = None) -> None:
        """Keep what was hashed; `began` is when hashing began (nanoseconds since the epoch; default: now).

        Each key was taken before the hash and seen unchanged after it. Returns before it is written.
        """
        limit = (time.time_ns() if began is None else began) - RACY
        keys: list[StatKey] = []
        digests: list[Digest] = []
        for key, digest in hashed:
            if max(key.mtime, key.ctime) < limit and digest.algorithm == "sha256":
                keys.append(key)
                digests.append(digest)
        if not keys:
            return

        def job(connection: sqlite3.Connection) -> None:
            rows = (
                (_signed(key.device), _signed(key.inode), key.size, key.mtime, key.ctime, bytes.fromhex(digest.hex))
                for key, digest in zip(keys, digests, strict=True)
            )
            connection.executemany("INSERT OR REPLACE INTO fast.stat VALUES(?,?,?,?,?,?)", rows)

        try:
            self._database.submit(job)
        except TrimaranError:
            return


def hash_folder_files(
    cancel: Cancel, folder: Folder, paths: Iterable[str], cache: StatCache, stats: Mapping[str, StatKey] | None = None
) -> dict[str, Digest]:
    """Content digests of regular files in `folder`, reading only those that the cache does not know. NotFound.

    `stats` (as `Folder.scan` fills it) saves asking again; a file that changed since then is hashed as it is now.
    """
    wanted = list(paths)
    keys: Mapping[str, StatKey] = stats or {}
    unknown = [path for path in wanted if path not in keys]
    if unknown:
        keys = {**keys, **_stat_keys(cancel, folder, unknown)}
    keys = cache.trusted(folder, keys)
    found: dict[str, Digest] = cache.look_up(keys, [path for path in wanted if path in keys])
    began = time.time_ns()
    missing = [path for path in wanted if path not in found]
    changed: set[str] = set()
    for path, digest, kept in _hash_all(cancel, folder, missing, keys):
        found[path] = digest
        if not kept:
            changed.add(path)
    cache.remember(((keys[path], found[path]) for path in missing if path in keys and path not in changed), began=began)
    return found


def _stat_keys(cancel: Cancel, folder: Folder, paths: Iterable[str]) -> dict[str, StatKey]:
    found = {}
    for path in paths:
        cancel.check()
        found[path] = folder.stat_key(path)
    return found


_Hashed = tuple[str, Digest, bool]
"""Path, digest, whether the file is as its key says."""


def _hash_all(cancel: Cancel, folder: Folder, paths: list[str], keys: Mapping[str, StatKey]) -> Iterable[_Hashed]:
    """Much to read is read by several threads: hashing and reading let go of the interpreter's lock."""
    much = len(paths) > _FEW or sum(keys[path].size for path in paths if path in keys) > _LITTLE
    parts = _parts(paths, keys, os.cpu_count() or 1) if much else [paths]
    if len(parts) < 2:
        return _hash_some(cancel, folder, paths, keys)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(parts), thread_name_prefix="hash") as pool:
        hashed = list(pool.map(lambda some: _hash_apart(cancel, folder, some, keys), parts))
    return chain.from_iterable(hashed)


def _parts(paths: list[str], keys: Mapping[str, StatKey], count: int) -> list[list[str]]:
    """`paths` in order, cut where about equal numbers of bytes are on both sides; a small file counts as 32 KiB."""
    weights = [max(keys[path].size if path in keys else 0, 1 << 15) for path in paths]
    share = sum(weights) / count
    parts: list[list[str]] = [[]]
    filled = 0.0
    for path, weight in zip(paths, weights, strict=True):
        if filled >= share * len(parts) and len(parts) < count:
            parts.append([])
        parts[-1].append(path)
        filled += weight
    return parts


def _hash_apart(cancel: Cancel, folder: Folder, paths: list[str], keys: Mapping[str, StatKey]) -> list[_Hashed]:
    """As `_hash_some`, by a descriptor of its own: a Folder keeps the last folder it was asked in open."""
    with Folder(folder.path, os.dup(folder.fd)) as own:
        return _hash_some(cancel, own, paths, keys)


def _hash_some(cancel: Cancel, folder: Folder, paths: list[str], keys: Mapping[str, StatKey]) -> list[_Hashed]:
    found = []
    for path in paths:
        digest, after = folder.hash(cancel, path)
        found.append((path, digest, after == keys.get(path)))
    return found


def _signed(number: int) -> int:
    """SQLite's integers are signed, inode and device numbers are not."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _file_system(opened: int) -> int:
    """f_type of statfs(2), which Python's statvfs leaves out; 0 when it cannot be told."""
    import ctypes

    buffer = (ctypes.c_long * 32)()
    if ctypes.CDLL(None, use_errno=True).fstatfs(opened, ctypes.byref(buffer)) != 0:
        return 0
    return int(buffer[0]) & 0xFFFFFFFF
