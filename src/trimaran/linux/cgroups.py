"""Control groups: one per engine that filters device access, and one per step where limits are asked for.

The engine's own group is made by the outer process while the inner one already works: the kernel needs about 10 ms to
move a process between groups, and everything the engine starts is then in it at no cost. Devices are filtered by a
program of 20-odd instructions in the kernel (cgroup v2 has no other way); its rules are Docker's defaults.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from trimaran.errors import Unsupported, UsageError
from trimaran.linux import bpf

_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_PREFIX = "trimaran-"


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
        _close(self._ask, 1)
        _close(self._reply, 0)
        answer = b"0"
        try:
            if os.read(self._ask[0], 1) != b"1":
                return  # it ended before it got so far
            parent = own_group()
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


def remove_tree(path: str) -> None:
    """Remove a group and the groups in it; what still has processes stays."""
    for folder, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            continue


def write_file(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


class Limits(msgspec.Struct, frozen=True):
    """Limits of one step, cgroup v2's words; None is no limit. `cpu_quota` is in microseconds per `cpu_period`."""

    memory: int | None = None
    memory_swap: int | None = None
    cpu_quota: int | None = None
    cpu_period: int = 100_000
    cpu_weight: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None

    def files(self) -> tuple[tuple[str, str, str], ...]:
        """(controller, file, value) of every limit set."""
        rows: list[tuple[str, str, str]] = []
        if self.memory is not None:
            rows.append(("memory", "memory.max", str(self.memory)))
        if self.memory_swap is not None:
            rows.append(("memory", "memory.swap.max", str(self.memory_swap)))
        if self.cpu_quota is not None:
            rows.append(("cpu", "cpu.max", f"{self.cpu_quota} {self.cpu_period}"))
        if self.cpu_weight is not None:
            rows.append(("cpu", "cpu.weight", str(self.cpu_weight)))
        if self.cpuset_cpus:
            rows.append(("cpuset", "cpuset.cpus", self.cpuset_cpus))
        if self.cpuset_mems:
            rows.append(("cpuset", "cpuset.mems", self.cpuset_mems))
        if self.pids is not None:
            rows.append(("pids", "pids.max", str(self.pids)))
        return tuple(rows)


@contextmanager
def step_group(name: str, limits: Limits, *, parent: str = "") -> Iterator[str]:
    """A group for one step with its limits, removed at the end, in `parent` (a path in the hierarchy; own by default).

    Raises UsageError for a parent that is no such path, Unsupported, naming the missing controllers.
    """
    root = hierarchy()
    levels = _levels(parent)
    rows = limits.files()
    needed = {controller for controller, _, _ in rows}
    what = f"limit a step: cgroup parent {parent}" if parent else "limit a step"
    if root is None:
        raise Unsupported(f"{what}: no cgroup v2 hierarchy here", hint=_WITHOUT)
    missing = needed - controllers(root)
    if missing:
        raise Unsupported(
            f"limit a step: cgroup v2 has no controller {', '.join(sorted(missing))} here",
            hint="controllers are in use by cgroup v1 or not delegated; boot with systemd.unified_cgroup_hierarchy=1",
        )
    folder = "/".join([root, *levels, name])
    try:
        _fill(root, levels, folder, rows)
    except OSError as error:
        remove_tree(folder)
        raise Unsupported(f'{what}: write "{error.filename}": {error.strerror}', hint=_WITHOUT) from error
    try:
        yield folder
    finally:
        remove_tree(folder)


_WITHOUT = "build without resource limits and cgroup parent"


def _levels(parent: str) -> list[str]:
    levels = [part for part in parent.split("/") if part] or ["trimaran"]
    if ".." in levels or "." in levels or any("\0" in level or "\n" in level for level in levels):
        raise UsageError(f'limit a step: cgroup parent "{parent}" is no path in the hierarchy', hint="such as /builds")
    return levels


def _fill(root: str, levels: list[str], folder: str, rows: tuple[tuple[str, str, str], ...]) -> None:
    """Make the group, give it the controllers it needs, its device filter and its limits."""
    os.makedirs(folder, 0o755, exist_ok=True)
    needed = " ".join(sorted({f"+{controller}" for controller, _, _ in rows}))
    for count in range(len(levels) + 1) if needed else ():
        write_file("/".join([root, *levels[:count]]) + "/cgroup.subtree_control", needed)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        bpf.attach_device_filter(fd)
    finally:
        os.close(fd)
    for _, file, value in rows:
        write_file(f"{folder}/{file}", value)


def controllers(folder: str) -> set[str]:
    """The controllers that groups below `folder` can use."""
    with open(f"{folder}/cgroup.controllers", encoding="ascii") as file:
        return set(file.read().split())


def out_of_memory_kills(folder: str | None = None) -> int:
    """How many processes the kernel killed for want of memory: in the group, or on the whole machine."""
    path, word = (f"{folder}/memory.events", "oom_kill") if folder else ("/proc/vmstat", "oom_kill")
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                name, _, count = line.partition(" ")
                if name == word:
                    return int(count)
    except OSError:
        pass
    return 0


def peak_memory(folder: str) -> int | None:
    """The most bytes the group held at once; None where the kernel (before 5.19) or the controller does not say."""
    try:
        with open(f"{folder}/memory.peak", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
