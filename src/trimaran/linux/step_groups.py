"""Control groups of steps and of whole builds, where limits are asked for: cgroup v2, else the controllers of v1.

A group is locked while what it is for lives; what killed engines left is swept when the next group is made, and by the
outer process of every next engine (`sweep_default`). The folder that ours are in by default goes with the last of them.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import msgspec

from trimaran.errors import Unsupported, UsageError
from trimaran.linux import bpf, syscalls
from trimaran.linux.cgroups import (
    DEFAULT_PARENT,
    controllers,
    hierarchy,
    own_path,
    remove_empty,
    remove_tree,
    sweep,
    write_file,
)
from trimaran.linux.limits import Limits, Row

_WITHOUT = "build without resource limits and cgroup parent"
_TIMES = "cpu-period is 1000 to 1000000 microseconds, cpu-quota at least 1000"
_V2 = ""
_TRIES = 100


class Group(msgspec.Struct, frozen=True):
    """`places`: (controller of v1, or "" for the hierarchy of v2; folder) of each group that a process has to enter.

    `controllers`: those of v2 that groups in it are given, too.
    """

    places: tuple[tuple[str, str], ...] = ()
    controllers: frozenset[str] = frozenset()

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(folder for _, folder in self.places)

    def kills(self) -> int:
        """Processes the kernel killed for want of memory: in the group, or on the whole machine where there is none."""
        places = [f"{folder}/{name}" for folder in self.folders for name in ("memory.events", "memory.oom_control")]
        for path in (*places, "/proc/vmstat"):
            with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
                for line in file:
                    name, _, count = line.partition(" ")
                    if name == "oom_kill":
                        return int(count)
        return 0

    def limits_memory(self) -> bool:
        names = ("memory.events", "memory.oom_control")
        return any(os.path.exists(f"{folder}/{name}") for folder in self.folders for name in names)

    def peak(self) -> int | None:
        """The most bytes the group held at once; None where the kernel (v2 before 5.19) or the controller won't say."""
        for folder in self.folders:
            for name in ("memory.peak", "memory.max_usage_in_bytes"):
                with suppress(OSError, ValueError), open(f"{folder}/{name}", encoding="ascii") as file:
                    return int(file.read())
        return None


NONE = Group()


@contextmanager
def group(
    name: str, limits: Limits, *, parent: str = "", within: Group | None = None, filtered: bool = False
) -> Iterator[Group]:
    """A group with limits, removed at the end: in `parent` (a path in the hierarchy), there in the group `within`.

    Each controller is used where the machine has it, in v2 or v1. Devices are filtered if `filtered`, where the group
    is one of v2. UsageError for a parent that is no such path and for a limit that the kernel does not take;
    Unsupported naming the missing controllers.
    """
    levels, within = _levels(parent), within or NONE
    what = f"limit a step: cgroup parent {parent}" if parent else "limit a step"
    root = hierarchy()
    there = controllers(root) if root else set()
    rows = tuple(row for row in limits.files() if row[0] in there)
    wanted = frozenset(controller for controller, _, _ in rows) | within.controllers
    rows_v1 = [row for row in limits.files_v1() if row[0] not in there]
    outer = dict(within.places)
    with ExitStack() as stack:
        places: list[tuple[str, str]] = []
        try:
            if root is not None and (parent or wanted):
                chain = _chain(root, levels, outer.get(_V2))
                folder = stack.enter_context(_made(chain, name, keep=bool(parent)))
                _fill(chain, folder, wanted, rows, filtered=filtered)
                places.append((_V2, folder))
            elif parent:
                raise Unsupported(f"{what}: no cgroup v2 hierarchy here", hint=_WITHOUT)
            used = dict.fromkeys([controller for controller, _, _ in rows_v1] + [key for key in outer if key != _V2])
            for controller in used:
                own = tuple(row for row in rows_v1 if row[0] == controller)
                places.append((controller, _open_v1(stack, controller, levels, name, own, outer.get(controller))))
        except OSError as error:
            raise Unsupported(f'{what}: write "{error.filename}": {error.strerror}', hint=_WITHOUT) from error
        yield Group(tuple(places), wanted)


def _open_v1(
    stack: ExitStack, controller: str, levels: list[str], name: str, rows: tuple[Row, ...], within: str | None
) -> str:
    root = own_group_v1(controller)
    if root is None:
        raise Unsupported(
            f"limit a step: there is no controller {controller} for cgroups here",
            hint="boot with systemd.unified_cgroup_hierarchy=1, or have the controller delegated to you",
        )
    chain = _chain(root, levels, within)
    folder = stack.enter_context(_made(chain, name, keep=levels != [DEFAULT_PARENT]))
    if controller == "cpuset":
        _inherit_cpuset([*chain, folder])
    for _, file, value in rows:
        _set_limit(folder, file, value)
    return folder


_mounted: dict[str, str] = {}


def own_group_v1(controller: str) -> str | None:
    """The folder of the group this process is in for a controller of cgroup v1; None where it is not of v1.

    Mounted for us alone, at no place: what others have mounted where is hidden from the engine, or not there at all.
    """
    found = own_path(controller)
    if found is None:
        return None
    names, path = found
    if names not in _mounted:
        try:
            fd = syscalls.fsopen("cgroup")
            try:
                for name in names.split(","):
                    syscalls.fsconfig_flag(fd, name)
                syscalls.fsconfig_create(fd)
                mount = syscalls.fsmount(fd)
            finally:
                os.close(fd)
        except OSError:
            return None
        _mounted[names] = f"/proc/{os.getpid()}/fd/{mount}"
    folder = f"{_mounted[names]}{path}".rstrip("/")
    return folder if os.path.isdir(folder) else _mounted[names]


def _inherit_cpuset(chain: Sequence[str]) -> None:
    """A v1 cpuset begins empty, and takes no process before it has both."""
    for above, below in itertools.pairwise(chain):
        for name in ("cpuset.cpus", "cpuset.mems"):
            with open(f"{below}/{name}", encoding="ascii") as file:
                if file.read().strip():
                    continue
            with open(f"{above}/{name}", encoding="ascii") as file:
                write_file(f"{below}/{name}", file.read().strip())


def _chain(root: str, levels: list[str], within: str | None) -> list[str]:
    """The groups above a new one, from the top."""
    chain = ["/".join([root, *levels[:count]]) for count in range(len(levels) + 1)]
    return [*chain, within] if within else chain


@contextmanager
def _made(chain: Sequence[str], name: str, *, keep: bool) -> Iterator[str]:
    """A new group, locked so that no other engine sweeps it, removed at the end, and what is above it unless `keep`."""
    folder = f"{chain[-1]}/{name}"
    fd = _make_locked(chain, folder)
    try:
        yield folder
    finally:
        os.close(fd)
        remove_tree(folder)
        if not keep:
            remove_empty(chain[1])


def _make_locked(chain: Sequence[str], folder: str) -> int:
    """Tried again where another engine removed the folder it is to be in, or swept it before it was locked."""
    for attempt in range(_TRIES):
        with suppress(FileNotFoundError):
            for above in chain[1:]:
                with suppress(FileExistsError):
                    os.mkdir(above, 0o755)
            if not attempt:
                sweep(chain[-1])
            os.mkdir(folder, 0o755)
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.path.exists(folder):
                return fd
            os.close(fd)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)


def _levels(parent: str) -> list[str]:
    levels = [part for part in parent.split("/") if part] or [DEFAULT_PARENT]
    if ".." in levels or "." in levels or any("\0" in level or "\n" in level for level in levels):
        raise UsageError(f'limit a step: cgroup parent "{parent}" is no path in the hierarchy', hint="such as /builds")
    return levels


def _set_limit(folder: str, file: str, value: str) -> None:
    """UsageError for a value that the kernel does not take: with a warning alone, all other limits would go, too."""
    is_set = file.startswith("cpuset.")
    try:
        write_file(f"{folder}/{file}", value)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ERANGE) and not (is_set and error.errno == errno.EACCES):
            raise
        hint = (
            "name those that this machine has"
            if is_set
            else _TIMES
            if file.startswith("cpu.cfs") or file == "cpu.max"
            else ""
        )
        raise UsageError(f"limit a step: the kernel does not take {value!r} as {file}", hint=hint) from error


def _fill(chain: Sequence[str], folder: str, needed: frozenset[str], rows: Sequence[Row], *, filtered: bool) -> None:
    """Give the group the controllers it needs, its device filter and its limits."""
    words = " ".join(f"+{controller}" for controller in sorted(needed))
    for above in chain if words else ():
        write_file(f"{above}/cgroup.subtree_control", words)
    if filtered:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            bpf.attach_device_filter(fd)
        finally:
            os.close(fd)
    for _, file, value in rows:
        _set_limit(folder, file, value)
