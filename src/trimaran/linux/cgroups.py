"""Control groups: one per engine that filters device access (those of single steps: `linux/step_groups.py`).

The engine's own group is made by the outer process while the inner one already works: the kernel needs about 10 ms to
move a process between groups, and everything the engine starts is then in it at no cost. Devices are filtered by a
program of 20-odd instructions in the kernel (cgroup v2 has no other way); its rules are Docker's defaults.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_PREFIX = "trimaran-"
DEFAULT_PARENT = "trimaran"
"""Where groups of steps are that have a limit and no parent asked for (`linux/step_groups.py`)."""
_LIMITING = ("memory", "cpu", "cpuset", "pids")


def hierarchy() -> str | None:
    """Where this mount namespace shows the cgroup v2 hierarchy."""
    for root in _ROOTS:
        if os.path.exists(f"{root}/cgroup.procs") and os.path.exists(f"{root}/cgroup.controllers"):
            return root
    return None


def own_group() -> str | None:
    """The folder of the group this process is in; None without cgroup v2 or where it is not shown."""
    root = hierarchy()
    if root is None:
        return None
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            if line.startswith("0::/"):
                path = f"{root}{line[3:].rstrip()}".rstrip("/")
                return path if os.path.isdir(path) else None
    return None


def own_path(controller: str) -> tuple[str, str] | None:
    """The hierarchy of v1 that has the controller, and the group this process is in there; None without one."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, names, path = line.rstrip().split(":", 2)
            if controller in names.split(","):
                return names, path
    return None


class Confinement:
    """The engine's group: `make` and `remove` are the outer process's, `start` and `filtered` the inner one's.

    `start` tells the outer process that the mounts are made (moving a process holds locks they wait for); one byte back
    says whether device access is filtered, and asking before it came waits for it.
    """

    __slots__ = ("_answer", "_ask", "_folder", "_lock", "_reply")

    def __init__(self, ask: tuple[int, int] = (-1, -1), reply: tuple[int, int] = (-1, -1)) -> None:
        self._ask, self._reply = list(ask), list(reply)
        self._answer: bool | None = None if ask[0] >= 0 else False
        self._folder = ""
        self._lock = -1

    @classmethod
    def pending(cls) -> Confinement:
        return cls(os.pipe(), os.pipe())

    @classmethod
    def none(cls) -> Confinement:
        return cls()

    def be_inner(self) -> None:
        """Keep the inner process's ends only."""
        _close(self._ask, 0)
        _close(self._reply, 1)

    def start(self) -> None:
        if self._ask[1] >= 0:
            os.write(self._ask[1], b"1")
            _close(self._ask, 1)

    def filtered(self) -> bool:
        """Whether processes started from here can open only the harmless devices. Waits up to some 10 ms at first."""
        if self._answer is None:
            self._answer = os.read(self._reply[0], 1) == b"1"
            _close(self._reply, 0)
        return self._answer

    def make(self, pid: int) -> None:
        """Put `pid` into a new group with the device filter. Never raises: no group means that MKNOD is dropped."""
        if self._ask[0] < 0:
            return
        from trimaran.linux import bpf

        _close(self._ask, 1)
        _close(self._reply, 0)
        answer = b"0"
        try:
            if os.read(self._ask[0], 1) != b"1":
                return  # it ended before it got so far
            parent = own_group()
            sweep_default()
            if parent is not None:
                sweep(parent)
                self._folder = f"{parent}/{_PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
                os.mkdir(self._folder, 0o755)
                self._lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                bpf.attach_device_filter(self._lock)
                write_file(f"{self._folder}/cgroup.procs", str(pid))
                answer = b"1"
        except OSError:
            self.remove()
        with suppress(BrokenPipeError):  # it has ended meanwhile
            os.write(self._reply[1], answer)
        _close(self._reply, 1)

    def remove(self) -> None:
        """Remove the group; its processes are gone."""
        if self._folder:
            remove_tree(self._folder)
            self._folder = ""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _close(pipe: list[int], end: int) -> None:
    if pipe[end] >= 0:
        os.close(pipe[end])
        pipe[end] = -1


def sweep(parent: str) -> None:
    """Remove the groups that killed engines left under `parent`: those nobody holds a lock on."""
    with os.scandir(parent) as entries:
        names = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
    for path in names:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(path)
        except OSError:
            continue
        finally:
            os.close(fd)


def sweep_default() -> None:
    """Remove what killed engines left of limited steps, wherever this mount namespace shows it, and costs no mount."""
    root = hierarchy()
    folders = {f"{root}/{DEFAULT_PARENT}"} if root else set()
    for controller in _LIMITING:
        found = own_path(controller)
        if found is not None:
            for path in {found[1].rstrip("/"), ""}:
                folders.add(f"{_ROOTS[0]}/{found[0]}{path}/{DEFAULT_PARENT}")
    for folder in folders:
        with suppress(OSError):
            sweep(folder)
            remove_empty(folder)


def remove_empty(folder: str) -> None:
    """Remove a group that no group is in and no process; another engine that is about to use it makes it again."""
    with suppress(OSError):
        os.rmdir(folder)


def remove_tree(path: str) -> None:
    """Remove a group and the groups in it; what still has processes stays."""
    for folder, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            continue


def write_file(path: str, text: str) -> None:
    """Every OSError names the file, also that of a value that the kernel does not take."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def controllers(folder: str) -> set[str]:
    """The controllers that groups below `folder` can use."""
    with open(f"{folder}/cgroup.controllers", encoding="ascii") as file:
        return set(file.read().split())
