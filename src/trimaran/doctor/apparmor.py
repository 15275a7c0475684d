"""Ubuntu's restriction of unprivileged user namespaces (since 23.10): they can be made, and then do nothing."""

from __future__ import annotations

import msgspec

from trimaran.doctor.machine import Finding, Machine
from trimaran.doctor.remedies import Remedies
from trimaran.linux import user_namespace
from trimaran.linux.enter import foresee

_KEY = "kernel.apparmor_restrict_unprivileged_userns"
_NAME = "AppArmor"


class Facts(msgspec.Struct, frozen=True):
    """`restricted` is the kernel's switch (None: it has none); `profile` our own, "" or "unconfined": none.

    `vouched`: a runtime that has a profile makes namespaces for us.
    """

    may_mount: bool
    restricted: bool | None
    profile: str
    vouched: bool = False


def examine(machine: Machine) -> list[Finding]:
    text = machine.read(f"/proc/sys/{_KEY.replace('.', '/')}")
    profile = machine.read("/proc/self/attr/apparmor/current") or machine.read("/proc/self/attr/current") or ""
    restricted = None if text is None else text.strip() == "1"
    vouched = bool(restricted) and not machine.may_mount and bool(user_namespace.refused()) and foresee().mounts
    facts = Facts(machine.may_mount, restricted, profile.strip().strip("\0"), vouched)
    return [decide(facts, machine.remedies)]


def decide(facts: Facts, remedies: Remedies) -> Finding:
    own = facts.profile.removesuffix(" (enforce)").removesuffix(" (complain)")
    if facts.profile.endswith("(enforce)") and own.startswith("docker-"):
        detail = f"confined by {own}, which forbids mounts: start the container with --security-opt apparmor=unconfined"
        return Finding(_NAME, "fail", detail)
    if not facts.restricted:
        return Finding(_NAME, "ok", "does not restrict user namespaces")
    if facts.may_mount:
        return Finding(_NAME, "ok", "restricts user namespaces, which root does not need")
    if own not in {"", "unconfined"}:
        return Finding(_NAME, "ok", f"restricts user namespaces, but not for us ({own})")
    if facts.vouched:
        return Finding(_NAME, "ok", "restricts user namespaces, but not those of the runtime, which makes ours")
    detail = f"{_KEY} is 1: user namespaces have no rights, so RUN cannot work without root"
    return Finding(_NAME, "fail", detail, remedies.sysctl(_KEY, 0))
