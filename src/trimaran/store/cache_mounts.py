"""Folders that outlive builds: what `RUN --mount=type=cache` shows, named by an id and by what it was begun with.

`cache-mounts/NAME-N/` has `data` (what is mounted), `lock` and `mount.json`; N counts the copies that `private` mounts
need when several run at once. Law: the id reaches the disk only hashed (CVE-2024-9675). Who mounts pins first and looks
then, both under the collector's lock; the collector takes away what no living build has pinned.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import Conflict
from trimaran.store.database import Database
from trimaran.store.disk import disk_errors
from trimaran.store.failpoints import reached
from trimaran.store.last_use import LastUse
from trimaran.store.locks import guarded
from trimaran.store.packing import unpack_json
from trimaran.store.pins import Pins, live_pins
from trimaran.store.removal import disk_usage, remove_tree

Sharing = Literal["shared", "private", "locked"]
Fill = Callable[[str], Awaitable[None]]
"""Puts into a new, empty folder what a cache mount begins with, its own mode and owner included."""

KIND = "cache-mount"
"""Of pins and of last use."""
_FOLDER = "cache-mounts"
_GONE = "gone-"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1


class CacheMount(msgspec.Struct, frozen=True, kw_only=True):
    """One folder as it is kept. `name` is that of its folder, `id` what the Dockerfile calls it."""

    name: str
    id: str
    description: str = ""
    created: int = 0
    """Nanoseconds since the epoch, as `last_used` (0: never since it was made)."""
    last_used: int = 0
    usage_count: int = 0
    size: int = 0
    """Bytes on disk (st_blocks)."""
    in_use: bool = False


class _Note(msgspec.Struct, frozen=True):
    """`mount.json`."""

    id: str
    description: str
    created: int


class CacheMounts:
    def __init__(self, root: str, database: Database, pins: Pins, last_use: LastUse) -> None:
        self._root = root
        self._folder = os.path.join(root, _FOLDER)
        self._database = database
        self._pins = pins
        self._last_use = last_use

    @asynccontextmanager
    async def hold(
        self, identifier: str, sharing: Sharing, *, seed: str = "", fill: Fill | None = None, description: str = ""
    ) -> AsyncIterator[str]:
        """The folder to mount, for as long as the context lasts; made when it is not there yet.

        `seed` names what `fill` puts in: other content, other folder. `locked` waits until nobody else has it, `shared`
        until nobody has it locked, `private` takes a copy that nobody has. Waiting costs no thread.
        """
        name = mount_name(identifier, seed)
        note = _Note(_shown(identifier), _shown(description), time.time_ns())
        number = 0
        fd = await self._open(f"{name}-{number}", note, fill)
        while not await _lock(fd, sharing):
            number += 1
            fd = await self._open(f"{name}-{number}", note, fill)
        self._last_use.bump(KIND, f"{name}-{number}")
        try:
            yield os.path.join(self._folder, f"{name}-{number}", "data")
        finally:
            os.close(fd)

    async def _open(self, name: str, note: _Note, fill: Fill | None) -> int:
        """A descriptor of the lock file of the folder `name`, which is pinned and made."""
        while (fd := await aio.in_thread(self._open_lock, name)) is None:
            temporary = await aio.in_thread(self._begin, note)
            if fill is not None:
                await fill(os.path.join(temporary, "data"))
            await aio.in_thread(self._publish, temporary, name)
        return fd

    def _open_lock(self, cancel: Cancel, name: str) -> int | None:
        cancel.check()
        with disk_errors("open cache mount"), guarded(os.path.join(self._root, "gc.lock"), exclusive=False):
            self._pins.pin(f"{KIND}:{name}")
            try:
                return os.open(os.path.join(self._folder, name, "lock"), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None

    def _begin(self, cancel: Cancel, note: _Note) -> str:
        """A new folder in the build's temp folder: 0755 of root, as BuildKit's."""
        cancel.check()
        temporary = self._pins.temporary("cache-mount")
        with disk_errors("make cache mount"):
            os.mkdir(temporary, 0o700)
            data = os.path.join(temporary, "data")
            os.mkdir(data)
            os.chmod(data, 0o755)  # noqa: S103 - any user of a step may come in, the folder above is closed
            with open(os.path.join(temporary, "mount.json"), "wb") as file:
                file.write(msgspec.json.encode(note))
            os.close(os.open(os.path.join(temporary, "lock"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return temporary

    def _publish(self, cancel: Cancel, temporary: str, name: str) -> None:
        """Move a filled folder to its name; whoever comes second throws his away."""
        with disk_errors("keep cache mount"):
            os.makedirs(self._folder, 0o700, exist_ok=True)
            try:
                reached("before cache mount rename")
                os.rename(temporary, os.path.join(self._folder, name))
                reached("cache mount kept")
                return
            except OSError:
                if not os.path.isdir(os.path.join(self._folder, name)):
                    raise
        remove_tree(cancel, temporary)

    def listed(self, cancel: Cancel, *, measured: bool = True) -> list[CacheMount]:
        """All of them, by id; sizes are found by walking, unless not `measured`."""
        return listed(cancel, self._root, self._last_use, measured=measured)

    def remove(self, cancel: Cancel, name: str) -> bool:
        """Delete one folder; False when it is not there. Conflict while a build has it."""
        path = condemn(self._root, name)
        if path is None:
            if not os.path.isdir(os.path.join(self._folder, name)):
                return False
            raise Conflict(f"remove cache mount {name}: a running build has it", hint="wait for that build to end")
        remove_tree(cancel, path)
        self._database.execute("DELETE FROM fast.used WHERE kind=? AND id=?", (KIND, name))
        return True


def mount_name(identifier: str, seed: str) -> str:
    """What of the id and the content it begins with reaches the disk: a digest."""
    text = b"trimaran.cache-mount.1\0" + identifier.encode("utf-8", "surrogateescape") + b"\0" + seed.encode()
    return hashlib.sha256(text).hexdigest()[:40]


def _shown(text: str) -> str:
    """What can be written down of a text that may be no UTF-8."""
    return text.encode("utf-8", "replace").decode()


async def _lock(fd: int, sharing: Sharing) -> bool:
    """Wait for the lock; for a private one don't: False, and `fd` is closed, when somebody else has it."""
    pause = _FIRST_PAUSE
    try:
        while not _try(fd, fcntl.LOCK_SH if sharing == "shared" else fcntl.LOCK_EX):
            if sharing == "private":
                os.close(fd)
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
    except BaseException:
        os.close(fd)
        raise
    return True


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def listed(cancel: Cancel, root: str, last_use: LastUse, *, measured: bool = True) -> list[CacheMount]:
    """See `CacheMounts.listed`."""
    folder = os.path.join(root, _FOLDER)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    pins, used = live_pins(root), last_use.of(KIND)
    found = []
    for name in names:
        note = _read_note(os.path.join(folder, name)) if not name.startswith(_GONE) else None
        if note is None:
            continue
        at, count = used.get(name, (0, 0))
        found.append(
            CacheMount(
                name=name,
                id=note.id,
                description=note.description,
                created=note.created,
                last_used=at,
                usage_count=count,
                size=disk_usage(cancel, os.path.join(folder, name)) if measured else 0,
                in_use=f"{KIND}:{name}" in pins,
            )
        )
    return sorted(found, key=lambda mount: (mount.id, mount.name))


def _read_note(folder: str) -> _Note | None:
    """None for a folder that went away meanwhile; one whose note is damaged can still be listed and removed."""
    try:
        with open(os.path.join(folder, "mount.json"), "rb") as file:
            return unpack_json(file.read(), _Note)
    except FileNotFoundError:
        return _Note("", "", 0) if os.path.isdir(folder) else None
    except (OSError, msgspec.MsgspecError):
        return _Note("", "", 0)


def condemn(root: str, name: str) -> str | None:
    """Take the folder from its name, so that nobody finds it: where it lies now, to be removed. None: it is in use."""
    folder = os.path.join(root, _FOLDER)
    gone = os.path.join(folder, f"{_GONE}{os.urandom(8).hex()}")
    with guarded(os.path.join(root, "gc.lock"), exclusive=True):
        if f"{KIND}:{name}" in live_pins(root):
            return None
        try:
            os.rename(os.path.join(folder, name), gone)
        except OSError:
            return None
    return gone


def sweep(cancel: Cancel, root: str) -> None:
    """Remove what a killed removal left."""
    folder = os.path.join(root, _FOLDER)
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.startswith(_GONE):
                remove_tree(cancel, os.path.join(folder, name))
