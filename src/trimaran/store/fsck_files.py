"""The files of the store against what its rows and lists say of them: blobs by digest, folders by their entry lists."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from typing import Self

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import TrimaranError
from trimaran.linux.paths import open_beneath
from trimaran.store.committed import list_upper, open_regular
from trimaran.store.damage import AGAIN, Damage, Found, Looked, statement
from trimaran.store.entries import (
    BLOCK,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    HARDLINK,
    NANOSECONDS,
    SYMLINK,
    WHITEOUT,
    Entry,
    EntryList,
)
from trimaran.store.layer_lists import LayerLists
from trimaran.store.layer_rows import LayerId, LayerRows
from trimaran.store.store import Store

_PIECE = 1 << 20
_KINDS = {
    FILE: stat.S_IFREG,
    HARDLINK: stat.S_IFREG,
    FOLDER: stat.S_IFDIR,
    SYMLINK: stat.S_IFLNK,
    CHARACTER: stat.S_IFCHR,
    WHITEOUT: stat.S_IFCHR,
    BLOCK: stat.S_IFBLK,
    FIFO: stat.S_IFIFO,
}


def blobs(cancel: Cancel, store: Store, looked: Looked) -> Iterator[Found]:
    """Each blob's bytes against its name, and its row's size against them."""
    database = store.database
    for name, size in database.query("SELECT digest, size FROM blobs"):
        looked.blobs += 1
        digest = Digest(name)
        cause, real = _blob_cause(cancel, store, digest, size)
        if cause and database.row("SELECT 1 FROM blobs WHERE digest=?", (name,)):
            mend = partial(store.content.forget, digest)
            yield Damage("blob", name, cause, AGAIN), mend
        elif real != size and not cause:
            fix = statement(database, "UPDATE blobs SET size=? WHERE digest=?", real, name)
            yield Damage("blob", name, f"its row says {size} bytes, it has {real}", "its row is corrected"), fix


def _blob_cause(cancel: Cancel, store: Store, digest: Digest, size: int) -> tuple[str, int]:
    """What is wrong with the bytes ("" nothing), and how many they are."""
    try:
        path = store.content.path(Digest.parse(digest))
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except TrimaranError:
        return "its row's name is no digest", size
    except FileNotFoundError:
        return "its file is gone", size
    except OSError as error:
        return f"its file cannot be read: {error.strerror}", size
    try:
        same = _hash(cancel, fd, digest) == digest.hex
        return "" if same else "its bytes are not those of its name", os.fstat(fd).st_size
    except OSError as error:
        return f"its file cannot be read: {error.strerror}", size
    finally:
        os.close(fd)


def _hash(cancel: Cancel, fd: int, digest: Digest) -> str:
    hasher = digest.hasher()
    while data := os.read(fd, _PIECE):
        cancel.check()
        hasher.update(data)
    return str(hasher.hexdigest())


def snapshots(cancel: Cancel, store: Store, looked: Looked) -> Iterator[Found]:
    """Each folder that is trusted against its layer's list; files that nobody hashed yet are, so that they can be."""
    database = store.database
    sql = "SELECT number, layer, synced, boot FROM snapshots WHERE boot != '' ORDER BY number"  # stacks from below
    rows = database.query(sql)
    lists = LayerLists(database, LayerRows(database))
    for number, layer, synced, boot in rows:
        if not synced and boot != store.snapshots.folders.boot:
            continue  # a miss: the machine went down before it was durable
        if not database.row("SELECT 1 FROM layers WHERE id=?", (layer,)):
            looked.leftovers += 1
            continue
        looked.snapshots += 1
        cause = _folder_cause(cancel, store, lists, number, LayerId(layer), looked)
        if cause and database.row("SELECT 1 FROM snapshots WHERE number=?", (number,)):
            mend = statement(database, "DELETE FROM snapshots WHERE number=?", number)
            yield Damage("snapshot", f"{number} of layer {layer}", cause, AGAIN), mend


def _folder_cause(cancel: Cancel, store: Store, lists: LayerLists, number: int, layer: LayerId, looked: Looked) -> str:
    folder = os.path.join(store.root, "snapshots", str(number))
    if not os.path.isdir(folder):
        return "its folder is gone"
    entries = lists.get(layer)
    if entries is None:
        entries = _listed(cancel, store, lists, layer, folder)
    if entries is None:
        looked.unlisted += 1
        return ""
    own_times = not store.layers.is_rendered(layer)
    hashed: dict[str, Digest] = {}
    with _Tree(folder) as tree:
        for entry in entries:
            cancel.check()
            cause = _entry_cause(cancel, tree, entry, hashed, own_times=own_times)
            if cause:
                return f"{'/' + entry.path!r} {cause}"
    if hashed:
        looked.unknown_files += len(hashed)
        lists.fill(layer, hashed)
    return ""


def _listed(cancel: Cancel, store: Store, lists: LayerLists, layer: LayerId, folder: str) -> EntryList | None:
    """What a process wrote and nobody has listed yet: from now on it is known. None where its stack is not."""
    below = [lists.get(parent) for parent in store.layers.parents(layer)]
    if store.layers.is_rendered(layer) or None in below:
        return None
    known = [entries for entries in below if entries is not None]
    entries = list_upper(cancel, folder, known, user_xattrs=store.snapshots.folders.user_xattrs)
    lists.store(layer, entries)
    return entries


class _Tree:
    """A folder that strangers filled, looked at by descriptors: no symlink in it is followed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._near, self._near_fd = "", os.dup(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)
        os.close(self._near_fd)

    def status(self, path: str) -> os.stat_result:
        return os.stat(path.rpartition("/")[2] or ".", dir_fd=self._above(path), follow_symlinks=False)

    def target(self, path: str) -> str:
        return os.readlink(path.rpartition("/")[2], dir_fd=self._above(path))

    def _above(self, path: str) -> int:
        above = path.rpartition("/")[0]
        if above != self._near:
            fd = open_beneath(self._root, above, os.O_PATH | os.O_DIRECTORY) if above else os.dup(self._root)
            os.close(self._near_fd)
            self._near, self._near_fd = above, fd
        return self._near_fd


def _entry_cause(cancel: Cancel, tree: _Tree, entry: Entry, hashed: dict[str, Digest], *, own_times: bool) -> str:
    try:
        status = tree.status(entry.path)
    except OSError:
        return "" if entry.kind in {CHARACTER, BLOCK} else "is missing"  # devices may be none this account can make
    if stat.S_IFMT(status.st_mode) != _KINDS[entry.kind]:
        return "is something else than it was"
    if entry.kind in {WHITEOUT, SYMLINK} or not entry.path:
        wrong = entry.kind == SYMLINK and tree.target(entry.path) != entry.target
        return "points elsewhere than it did" if wrong else ""
    unit = 1 if own_times else NANOSECONDS
    if (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) != (entry.mode, entry.uid, entry.gid):
        return "has another mode or owner than it had"
    if entry.kind != FOLDER and status.st_mtime_ns // unit != entry.mtime // unit:
        return "has another time than it had"
    if entry.kind != FILE:
        return ""
    if status.st_size != entry.size:
        return f"has {status.st_size} bytes instead of {entry.size}"
    try:
        fd = open_regular(tree.path, entry.path)
    except (OSError, TrimaranError) as error:
        return f"cannot be read: {error}"
    try:
        found = Digest("sha256:" + _hash(cancel, fd, Digest("sha256:")))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    finally:
        os.close(fd)
    if not entry.digest:
        hashed[entry.path] = found
    return "" if entry.digest in {"", found} else "has other content than it had"
