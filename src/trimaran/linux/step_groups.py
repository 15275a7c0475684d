"""Control groups of single steps, where limits are asked for: cgroup v2, else the controllers of v1 (hybrid machines).

A group is locked while its step lives; what killed engines left is swept when the next one is made.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import msgspec

from trimaran.errors import Unsupported, UsageError
from trimaran.linux import bpf, syscalls
from trimaran.linux.cgroups import controllers, hierarchy, remove_tree, sweep, write_file
from trimaran.linux.limits import Limits, Row

_WITHOUT = "build without resource limits and cgroup parent"


class StepGroup(msgspec.Struct, frozen=True):
    """`folders`: the groups (one, or one per v1 controller) that a process has to enter."""

    folders: tuple[str, ...] = ()

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


@contextmanager
def step_group(name: str, limits: Limits, *, parent: str = "", devices: bool = False) -> Iterator[StepGroup]:
    """Groups for one step with its limits, removed at the end, in `parent` (a path in the hierarchy).

    Devices are filtered in it unless `devices`. UsageError for a parent that is no such path, Unsupported naming the
    missing controllers.
    """
    levels = _levels(parent)
    what = f"limit a step: cgroup parent {parent}" if parent else "limit a step"
    root = hierarchy()
    rows = limits.files()
    missing = {controller for controller, _, _ in rows} - (controllers(root) if root else set())
    with ExitStack() as stack:
        folders: list[str] = []
        try:
            if root is not None and (parent or not missing):
                own = () if missing else rows
                folder = stack.enter_context(_made("/".join([root, *levels]), name))
                _fill(root, levels, folder, own, devices=devices)
                folders.append(folder)
            elif parent:
                raise Unsupported(f"{what}: no cgroup v2 hierarchy here", hint=_WITHOUT)
            if missing:
                folders += _fill_v1(stack, levels, name, limits.files_v1())
        except OSError as error:
            raise Unsupported(f'{what}: write "{error.filename}": {error.strerror}', hint=_WITHOUT) from error
        yield StepGroup(tuple(folders))


def _fill_v1(stack: ExitStack, levels: list[str], name: str, rows: tuple[Row, ...]) -> list[str]:
    found: dict[str, str] = {}
    for controller, file, value in rows:
        if controller not in found:
            root = own_group_v1(controller)
            if root is None:
                raise Unsupported(
                    f"limit a step: there is no controller {controller} for cgroups here",
                    hint="boot with systemd.unified_cgroup_hierarchy=1, or have the controller delegated to you",
                )
            folder = found[controller] = stack.enter_context(_made("/".join([root, *levels]), name))
            if controller == "cpuset":
                _inherit_cpuset(root, levels, folder)
        write_file(f"{found[controller]}/{file}", value)
    return list(found.values())


_mounted: dict[str, str] = {}


def own_group_v1(controller: str) -> str | None:
    """The folder of the group this process is in for a controller of cgroup v1; None where it is not of v1.

    Mounted for us alone, at no place: what others have mounted where is hidden from the engine, or not there at all.
    """
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, names, path = line.rstrip().split(":", 2)
            if controller in names.split(","):
                break
        else:
            return None
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


def _inherit_cpuset(root: str, levels: list[str], folder: str) -> None:
    """A v1 cpuset begins empty, and takes no process before it has both."""
    folders = ["/".join([root, *levels[:count]]) for count in range(1, len(levels) + 1)]
    for above, below in zip([root, *folders], [*folders, folder], strict=True):
        for name in ("cpuset.cpus", "cpuset.mems"):
            with open(f"{below}/{name}", encoding="ascii") as file:
                if file.read().strip():
                    continue
            with open(f"{above}/{name}", encoding="ascii") as file:
                write_file(f"{below}/{name}", file.read().strip())


@contextmanager
def _made(parent: str, name: str) -> Iterator[str]:
    """A new group, locked so that no other engine sweeps it, removed at the end."""
    os.makedirs(parent, 0o755, exist_ok=True)
    sweep(parent)
    folder = f"{parent}/{name}"
    os.mkdir(folder, 0o755)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield folder
        finally:
            os.close(fd)
    finally:
        remove_tree(folder)


def _levels(parent: str) -> list[str]:
    levels = [part for part in parent.split("/") if part] or ["trimaran"]
    if ".." in levels or "." in levels or any("\0" in level or "\n" in level for level in levels):
        raise UsageError(f'limit a step: cgroup parent "{parent}" is no path in the hierarchy', hint="such as /builds")
    return levels


def _fill(root: str, levels: list[str], folder: str, rows: tuple[Row, ...], *, devices: bool) -> None:
    """Give the group the controllers it needs, its device filter and its limits."""
    needed = " ".join(sorted({f"+{controller}" for controller, _, _ in rows}))
    for count in range(len(levels) + 1) if needed else ():
        write_file("/".join([root, *levels[:count]]) + "/cgroup.subtree_control", needed)
    if not devices:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            bpf.attach_device_filter(fd)
        finally:
            os.close(fd)
    for _, file, value in rows:
        write_file(f"{folder}/{file}", value)
