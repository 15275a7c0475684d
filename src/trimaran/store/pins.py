"""What running builds hold: each build is a flock'd file naming its pins, beside a temp folder that dies with it.

Law: first pin, then look whether the thing is there. The garbage collector first condemns rows, then reads the pins,
then deletes: either it sees the pin or the build sees the condemned row.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from trimaran.aio import Cancel
from trimaran.errors import Conflict
from trimaran.store.disk import disk_errors
from trimaran.store.locks import release, try_lock
from trimaran.store.removal import remove_tree


class Pins:
    """The pins and the temp folder of this process; both are made on first use."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._guard = threading.Lock()
        self._fd: int | None = None
        self._name = ""
        self._held: set[str] = set()
        self._count = 0

    def pin(self, *names: str) -> None:
        """Keep the garbage collectors of all processes off these (`blob:…`, `layer:…`) until this process ends."""
        new = [name for name in names if name not in self._held]
        if not new:
            return
        with self._guard:
            text = memoryview("".join(f"{name}\n" for name in new).encode())
            with disk_errors("note what this build holds"):
                while text:
                    text = text[os.write(self._live_file(), text) :]
            self._held.update(new)

    def temporary(self, kind: str) -> str:
        """A path for a new temp file or folder (not made), on the store's file system, unique in this process."""
        with self._guard:
            self._live_file()
            self._count += 1
            return os.path.join(self._root, "temp", self._name, f"{kind}-{self._count}")

    def of_others(self) -> set[str]:
        """`live_pins` but for this process's."""
        return live_pins(self._root, but=self._name)

    @property
    def has_written(self) -> bool:
        """Whether this process ever asked for a temp file or folder."""
        return self._count > 0

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """What fails because somebody removed this process's temp folder, or something in it, says so: Conflict."""
        try:
            yield
        except Exception as error:
            folder = os.path.join(self._root, "temp", self._name)
            lost = isinstance(error, FileNotFoundError) and os.fsdecode(error.filename or "").startswith(f"{folder}/")
            if not lost and os.path.isdir(folder):
                raise
            raise Conflict(
                f"use temporary files in {folder}: somebody removed them while they were used",
                hint="build again; what killed builds leave is swept by the next command, by itself",
            ) from error

    def _live_file(self) -> int:
        if self._fd is None:
            with disk_errors("begin to use the store"):
                name, path, fd = self._new_live_file()
                try:
                    os.mkdir(os.path.join(self._root, "temp", name), 0o700)
                except BaseException:
                    release(fd, path)
                    raise
            self._fd, self._name = fd, name
        return self._fd

    def _new_live_file(self) -> tuple[str, str, int]:
        """Its name, path and lock. Whoever looks who lives locks it for a moment, or takes it for a dead build's, if he
        sees it before we have it: then it is his, and we take another."""
        while True:
            name = os.urandom(8).hex()
            path = os.path.join(self._root, "live", name)
            fd = try_lock(path)
            if fd is not None:
                return name, path, fd
            with suppress(OSError):
                os.unlink(path)

    def close(self) -> None:
        with self._guard:
            if self._fd is None:
                return
            _end(Cancel(), self._root, self._name, self._fd)
            self._fd = None
            self._held.clear()


def live_pins(root: str, *, but: str = "") -> set[str]:
    """All pins of all living builds on this store, this process included; `but` that build's."""
    pins: set[str] = set()
    for name in os.listdir(os.path.join(root, "live")):
        if name == but:
            continue
        path = os.path.join(root, "live", name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with open(fd, encoding="utf-8", closefd=False) as file:
                pins.update(file.read().splitlines())
        finally:
            os.close(fd)
    return pins


def live_builds(root: str) -> list[str]:
    """Names of the builds on this store whose process lives."""
    names = []
    for name in os.listdir(os.path.join(root, "live")):
        try:
            fd = try_lock(os.path.join(root, "live", name), create=False)
        except FileNotFoundError:
            continue
        if fd is None:
            names.append(name)
        else:
            os.close(fd)
    return names


def dead_builds(root: str) -> list[tuple[str, int]]:
    """Builds whose process is gone without tidying up, as (name, descriptor of the lock now held by us)."""
    dead = []
    names = set(os.listdir(os.path.join(root, "live")))
    for name in sorted(names):
        try:
            fd = try_lock(os.path.join(root, "live", name), create=False)
        except FileNotFoundError:
            continue
        if fd is not None:
            dead.append((name, fd))
    return dead


def orphans(root: str) -> list[str]:
    """What lies in `temp` with no live file beside it, by name: nobody's. A build makes its live file first."""
    temp = os.path.join(root, "temp")
    there = os.listdir(temp) if os.path.isdir(temp) else []
    live = set(os.listdir(os.path.join(root, "live"))) if there else set()
    return [name for name in there if name.partition(".")[0] not in live]


def sweep(cancel: Cancel, root: str, dead: list[tuple[str, int]], left: Sequence[str] = ()) -> None:
    """Remove the temp folders of `dead_builds` and give their locks back, also when cancelled; and the `orphans`."""
    try:
        for name in left:
            remove_tree(cancel, os.path.join(root, "temp", name))
        while dead:
            name, fd = dead.pop()
            _end(cancel, root, name, fd)
    finally:
        for _, fd in dead:
            os.close(fd)


def _end(cancel: Cancel, root: str, name: str, fd: int) -> None:
    """Remove a build's temp folder, then its live file; that stays for the next sweep while anything is left.

    A removal that was killed leaves folders beside the temp folder, named after it (`remove_tree`).
    """
    temp = os.path.join(root, "temp")
    try:
        there = os.listdir(temp) if os.path.isdir(temp) else []
        own = [each for each in there if each == name or each.startswith(f"{name}.")]
        left = [each for each in own if not remove_tree(cancel, os.path.join(temp, each))]
    except BaseException:
        os.close(fd)
        raise
    if left:
        os.close(fd)
    else:
        release(fd, os.path.join(root, "live", name))
