"""Git repositories that sources keep beside the layers, so that the next commit of one is a small fetch.

`git/NAME/` has the bare repository and `trimaran` (its remote, without credentials); NAME is the hash of that. Law: who
uses one holds its lock, and so does whoever takes it away; what is gone is made anew.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.store.disk import disk_errors
from trimaran.store.locks import locked, release, try_lock
from trimaran.store.removal import disk_usage, remove_tree

_FOLDER = "git"
_NOTE = "trimaran"
_GONE = "gone-"


class KeptRepository(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    remote: str
    created: int
    """Nanoseconds since the epoch, as `last_used`."""
    last_used: int
    size: int
    """Bytes on disk (st_blocks)."""
    in_use: bool


@asynccontextmanager
async def hold(root: str, remote: str) -> AsyncIterator[str]:
    """The folder for `remote`, empty but for its note when it is new, for one process at a time."""
    name = Digest.of(remote.encode()).hex
    async with locked(_lock(root, name)):
        folder = os.path.join(root, _FOLDER, name)
        await aio.in_thread(_make, folder, remote)
        yield folder


def _lock(root: str, name: str) -> str:
    return os.path.join(root, "locks", f"git-{name}")


def _make(cancel: Cancel, folder: str, remote: str) -> None:
    cancel.check()
    note = os.path.join(folder, _NOTE)
    with disk_errors("keep git repository"):
        os.makedirs(folder, 0o700, exist_ok=True)
        if os.path.exists(note):
            os.utime(folder)
            return
        with open(note, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(remote)


def listed(cancel: Cancel, root: str) -> list[KeptRepository]:
    """All there are; each is measured by walking it."""
    found = []
    folder = os.path.join(root, _FOLDER)
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            cancel.check()
            if not name.startswith(_GONE) and (kept := _kept(cancel, root, name)) is not None:
                found.append(kept)
    return found


def _kept(cancel: Cancel, root: str, name: str) -> KeptRepository | None:
    folder = os.path.join(root, _FOLDER, name)
    try:
        used = created = os.stat(folder).st_mtime_ns
        remote = ""  # where the build that began it was killed before its note
        with suppress(FileNotFoundError), open(os.path.join(folder, _NOTE), encoding="utf-8", errors="replace") as file:
            remote = file.read(4096)
            created = os.fstat(file.fileno()).st_mtime_ns
        size = disk_usage(cancel, folder)
    except OSError:
        return None
    return KeptRepository(
        name=name, remote=remote, created=created, last_used=used, size=size, in_use=_in_use(root, name)
    )


def _in_use(root: str, name: str) -> bool:
    path = _lock(root, name)
    try:
        fd = try_lock(path, create=False)
    except OSError:
        return False
    if fd is None:
        return True
    release(fd, path)
    return False


def condemn(root: str, name: str) -> str | None:
    """Take the folder from its name: where it lies now, to be removed. None: it is in use, or there is none."""
    path = _lock(root, name)
    fd = try_lock(path)
    if fd is None:
        return None
    folder = os.path.join(root, _FOLDER)
    gone = os.path.join(folder, f"{_GONE}{os.urandom(8).hex()}")
    try:
        os.rename(os.path.join(folder, name), gone)
    except OSError:
        return None
    finally:
        release(fd, path)
    return gone


def sweep(cancel: Cancel, root: str) -> None:
    """Remove what a killed removal left."""
    folder = os.path.join(root, _FOLDER)
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.startswith(_GONE):
                remove_tree(cancel, os.path.join(folder, name))
