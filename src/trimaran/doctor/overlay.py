"""Overlayfs where the state folder is: without it every step copies its whole file system."""

from __future__ import annotations

import os
import shlex

import msgspec

from trimaran.doctor import probes
from trimaran.doctor.machine import Finding, Machine
from trimaran.doctor.remedies import Remedies
from trimaran.doctor.state_folder import nearest_existing, state_folder

_GOOD = frozenset({"ext4", "xfs", "btrfs", "tmpfs", "f2fs"})


class Facts(msgspec.Struct, frozen=True):
    """`problem` is what the kernel refused, "" nothing; `elsewhere` a folder on a file system that should do."""

    folder: str
    file_system: str
    problem: str
    known_to_kernel: bool
    elsewhere: str = ""


def examine(machine: Machine) -> list[Finding]:
    folder = nearest_existing(state_folder(machine))
    table = mount_table(machine.read("/proc/self/mounts") or "")
    try:
        problem = probes.try_overlay(folder, rootless=not machine.may_mount)
    except OSError as error:
        return [Finding("overlay", "warn", f"not tried: {folder}: {error.strerror} (see disk)")]
    places = ["/var/lib", "/var/tmp", machine.environment.get("HOME", ""), "/home", "/srv", "/dev/shm"]  # noqa: S108 - candidates to suggest, nothing is made there
    elsewhere = next(
        (
            place
            for place in places
            if os.path.isdir(place) and os.access(place, os.W_OK) and file_system_of(place, table) in _GOOD
        ),
        "",
    )
    known = "overlay" in (machine.read("/proc/filesystems") or "").split()
    return [decide(Facts(folder, file_system_of(folder, table), problem, known, elsewhere), machine.remedies)]


def decide(facts: Facts, remedies: Remedies) -> Finding:
    if not facts.problem:
        return Finding("overlay", "ok", f"works on {facts.folder} ({facts.file_system or 'unknown file system'})")
    detail = f"refused on {facts.folder} ({facts.file_system}): {facts.problem}; steps copy their files, which is slow"
    if not facts.known_to_kernel:
        return Finding("overlay", "warn", detail, remedies.as_root("modprobe overlay"))
    command = ""
    if facts.file_system not in _GOOD and facts.elsewhere:
        command = f"export TRIMARAN_ROOT={shlex.quote(facts.elsewhere + '/trimaran')}"
    return Finding("overlay", "warn", detail, command)


def mount_table(text: str) -> list[tuple[str, str]]:
    """(folder, file system type) of every mount, later ones last (proc(5))."""
    rows = [line.split() for line in text.splitlines()]
    return [(_unescape(row[1]), row[2]) for row in rows if len(row) > 2]


def _unescape(text: str) -> str:
    head, *rest = text.split("\\")
    return head + "".join(chr(int(item[:3], 8)) + item[3:] for item in rest)


def file_system_of(path: str, table: list[tuple[str, str]]) -> str:
    """The type of the mount that `path` lies in; "" when the table does not say."""
    best, kind = "", ""
    real = os.path.realpath(path)
    for folder, name in table:
        inside = real == folder or real.startswith(folder.rstrip("/") + "/")
        if inside and len(folder) >= len(best):
            best, kind = folder, name
    return kind
