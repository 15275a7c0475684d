"""Room for the store, and that the folder it lies in is ours alone."""

from __future__ import annotations

import os
import shlex
import stat

import msgspec

from trimaran.doctor.machine import Finding, Machine
from trimaran.doctor.remedies import Remedies
from trimaran.doctor.state_folder import nearest_existing, state_folder

LEAST, LITTLE = 1 << 30, 5 << 30
"""Bytes free: below the first a build of any size fails, below the second it may."""
LEAST_INODES = 50_000


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`existing` is `folder` or the first above it that is there; `owner` and `mode` are its own (0 when not there)."""

    folder: str
    existing: str
    user: str
    uid: int
    owner: int
    mode: int
    writable: bool
    free: int
    inodes: int | None


def examine(machine: Machine) -> list[Finding]:
    folder = state_folder(machine)
    existing = nearest_existing(folder)
    status, room = os.stat(existing), os.statvfs(existing)
    facts = Facts(
        folder=folder,
        existing=existing,
        user=machine.user,
        uid=machine.uid,
        owner=status.st_uid,
        mode=stat.S_IMODE(status.st_mode),
        writable=os.access(existing, os.W_OK | os.X_OK),
        free=room.f_bavail * room.f_frsize,
        inodes=room.f_favail if room.f_files else None,  # btrfs and others count none
    )
    return [decide(facts, machine.remedies)]


def decide(facts: Facts, remedies: Remedies) -> Finding:
    folder = shlex.quote(facts.folder)
    if facts.existing == facts.folder and facts.owner != facts.uid:
        command = remedies.as_root(f"chown -R {shlex.quote(facts.user)} {folder}")
        return Finding("disk", "fail", f"{facts.folder} belongs to user {facts.owner}, not to {facts.user}", command)
    if not facts.writable:
        if facts.existing == facts.folder and facts.owner == facts.uid and not facts.mode & 0o200:
            return Finding("disk", "fail", f"{facts.folder} is read-only", f"chmod 700 {folder}")
        make = f"install -d -m 700 -o {shlex.quote(facts.user)} {folder}"
        return Finding("disk", "fail", f"{facts.existing} cannot be written to", remedies.as_root(make))
    if facts.existing == facts.folder and facts.mode & 0o022:
        detail = f"{facts.folder} has mode {facts.mode:o}: others may change what is built"
        return Finding("disk", "fail", detail, f"chmod 700 {folder}")
    room = f"{facts.free / 1e9:.1f} GB free in {facts.existing}"
    if facts.free < LEAST:
        return Finding("disk", "fail", room, "trimaran prune --all --force")
    if facts.inodes is not None and facts.inodes < LEAST_INODES:
        return Finding(
            "disk", "fail", f"{facts.inodes} inodes free in {facts.existing}", "trimaran prune --all --force"
        )
    if facts.free < LITTLE:
        return Finding("disk", "warn", room, "trimaran prune --force")
    return Finding("disk", "ok", room)
