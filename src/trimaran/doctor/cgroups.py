"""Control groups: which version, and what that means for resource limits and for runc."""

from __future__ import annotations

import msgspec

from trimaran.doctor.machine import Finding, Machine
from trimaran.doctor.remedies import Remedies


class Facts(msgspec.Struct, frozen=True):
    """`controllers` of the version 2 hierarchy, None without one; `version1`: whether those of version 1 are used."""

    may_mount: bool
    controllers: tuple[str, ...] | None
    version1: bool
    runtime: str


def examine(machine: Machine) -> list[Finding]:
    roots = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    found = (machine.read(f"{root}/cgroup.controllers") for root in roots)
    text = next((item for item in found if item is not None), None)
    version1 = any(
        machine.exists(f"/sys/fs/cgroup/{name}/cgroup.procs") for name in ("memory", "cpu", "pids", "devices")
    )
    runtime = next((name for name in ("crun", "runc") if machine.find(name)), "")
    controllers = None if text is None else tuple(text.split())
    facts = Facts(machine.may_mount, controllers, version1, runtime)
    return [decide(facts, machine.remedies)]


def decide(facts: Facts, remedies: Remedies) -> Finding:
    if facts.controllers is not None and not facts.version1:
        missing = sorted({"cpu", "memory", "pids"} - set(facts.controllers))
        if missing and facts.may_mount:
            return Finding("cgroups", "ok", f"version 2, without {', '.join(missing)}: no such limits on steps")
        return Finding("cgroups", "ok", "version 2")
    if facts.controllers is None and not facts.version1:
        command = remedies.as_root("mount -t cgroup2 none /sys/fs/cgroup") if facts.may_mount else ""
        return Finding("cgroups", "warn", "none mounted: no resource limits on steps", command)
    kind = "hybrid (version 1 and 2)" if facts.controllers is not None else "version 1"
    if facts.controllers is None and facts.runtime == "runc" and not facts.may_mount:
        return Finding(
            "cgroups", "warn", f"{kind}: runc without root may refuse to start, crun does not", remedies.install("crun")
        )
    return Finding("cgroups", "ok", f"{kind}: steps run, limits on them too where root builds")
