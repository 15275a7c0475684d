"""User namespaces and subordinate ids: what RUN needs when it is not root who builds."""

from __future__ import annotations

import os
import stat

import msgspec

from trimaran.doctor import probes
from trimaran.doctor.machine import Finding, Machine
from trimaran.doctor.remedies import Remedies
from trimaran.linux import ids
from trimaran.linux.enter import foresee

NEEDED = 65536
"""How many ids an image may use."""
_NAME, _IDS = "user namespaces", "subordinate ids"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`most` is user.max_user_namespaces, `clone` Debian's switch (None: the kernel has none); counts of ids.

    `helpers`: whether newuidmap and newgidmap are there with the right to map; `next_free`: first id nobody has;
    `vouched`: a runtime of the distribution makes namespaces for us.
    """

    user: str
    may_mount: bool
    most: int | None
    clone: int | None
    problem: str
    subuids: int
    subgids: int
    next_free: int
    helpers: str
    apparmor: bool = False
    vouched: bool = False


def examine(machine: Machine) -> list[Finding]:
    may_mount = machine.may_mount
    subuid, subgid = machine.read("/etc/subuid") or "", machine.read("/etc/subgid") or ""
    problem = "" if may_mount else probes.in_child(probes.become_namespace_root)
    facts = Facts(
        user=machine.user,
        may_mount=may_mount,
        most=_number(machine.read("/proc/sys/user/max_user_namespaces")),
        clone=_number(machine.read("/proc/sys/kernel/unprivileged_userns_clone")),
        problem=problem,
        vouched=bool(problem) and foresee().mounts,
        subuids=sum(length for _, length in ids.parse_subordinate(subuid, machine.user, machine.uid)),
        subgids=sum(length for _, length in ids.parse_subordinate(subgid, machine.user, machine.uid)),
        next_free=next_free(subuid + "\n" + subgid),
        helpers=_helpers(machine),
        apparmor=_number(machine.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")) == 1,
    )
    return decide(facts, machine.remedies)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdigit() else None


def next_free(text: str) -> int:
    """The first id after all ranges of a subuid(5) file, 100000 at least."""
    ends = [100000]
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            ends.append(int(fields[1]) + int(fields[2]))
    return max(ends)


def _helpers(machine: Machine) -> str:
    """What is wrong with newuidmap and newgidmap: "", "missing", or the path of one without the right to map."""
    for name in ("newuidmap", "newgidmap"):
        path = machine.find(name)
        if path is None:
            return "missing"
        try:
            os.getxattr(path, "security.capability")
        except OSError:
            if not os.stat(path).st_mode & stat.S_ISUID:
                return path
    return ""


def decide(facts: Facts, remedies: Remedies) -> list[Finding]:
    if facts.may_mount:
        return [Finding(_NAME, "ok", "not needed: root builds without them")]
    namespaces = _namespaces(facts, remedies)
    if namespaces.status == "fail" and not namespaces.command:
        return [namespaces]  # ids to map into one are of no use where none is to be had
    return [namespaces, _subordinate(facts, remedies)]


def _namespaces(facts: Facts, remedies: Remedies) -> Finding:
    without = "RUN cannot work; builds without RUN do"
    if facts.problem and facts.vouched:
        return Finding(_NAME, "ok", f"{facts.problem} for us, but not for the runtime, which makes them for us")
    if facts.clone == 0:
        command = remedies.sysctl("kernel.unprivileged_userns_clone", 1)
        return Finding(_NAME, "fail", f"kernel.unprivileged_userns_clone is 0: {without}", command)
    if facts.most == 0:
        command = remedies.sysctl("user.max_user_namespaces", 15000)
        return Finding(_NAME, "fail", f"user.max_user_namespaces is 0: {without}", command)
    if facts.problem and facts.apparmor:
        return Finding(_NAME, "fail", f"{facts.problem} (see AppArmor below): {without}")
    if facts.problem:
        detail = f"{facts.problem}: {without}; in a container its seccomp profile or missing rights may forbid them"
        return Finding(_NAME, "fail", detail)
    return Finding(_NAME, "ok", "can be made")


def _subordinate(facts: Facts, remedies: Remedies) -> Finding:
    if facts.helpers == "missing":
        detail = "newuidmap and newgidmap are not installed: RUN cannot work; builds without RUN do"
        return Finding(_IDS, "fail", detail, remedies.install("uidmap"))
    if facts.helpers:
        command = remedies.as_root(f"chmod u+s {facts.helpers}")
        return Finding(_IDS, "fail", f"{facts.helpers} has neither the setuid bit nor file capabilities", command)
    lacking = [
        path for path, count in (("/etc/subuid", facts.subuids), ("/etc/subgid", facts.subgids)) if count < NEEDED
    ]
    if lacking:
        have = f"{facts.subuids} user and {facts.subgids} group ids"
        command = remedies.append(f"{facts.user}:{facts.next_free}:{NEEDED}", *lacking)
        return Finding(_IDS, "fail", f"{facts.user} has {have} of its own, images need {NEEDED}", command)
    return Finding(_IDS, "ok", f"{facts.user} has {facts.subuids} user and {facts.subgids} group ids")
