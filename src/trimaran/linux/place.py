"""What the place we are in grants: which namespaces, and what is left without them. Facts only; nothing is decided.

Containers take them away one by one: Docker's seccomp profile refuses namespaces to whoever lacks CAP_SYS_ADMIN, masks
on /proc forbid to mount another one in a user namespace (the kernel would otherwise show what they hide), AppArmor on
Ubuntu 24.04 takes all rights from user namespaces of programs it does not know.
"""

from __future__ import annotations

import msgspec

from trimaran.linux import ids

CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_SYS_CHROOT = 18
CAP_SYS_ADMIN = 21
CAP_MKNOD = 27

_HARMLESS = "/proc/sys/fs/binfmt_misc"  # mounted on a folder that is always empty: it hides nothing


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What steps can be given here.

    `mounts`: a mount namespace of our own; `processes`: a PID namespace with its own /proc; `ids`: more users than one;
    `root`: we are user 0 with CAP_SYS_CHROOT, so a step can be shut into a folder without any namespace. `refusal` says
    what was refused, "" when nothing was.
    """

    mounts: bool = True
    processes: bool = True
    ids: bool = True
    root: bool = False
    refusal: str = ""


def capabilities() -> int:
    """The effective capabilities of this process, a bit per number."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


def has_capability(number: int) -> bool:
    """Whether the capability is effective in this process."""
    return bool(capabilities() >> number & 1)


def gives_files() -> bool:
    """Whether this process can give files to other users."""
    return has_capability(CAP_CHOWN) and ids.several(ids.current_maps()[0])


def masks_on_proc() -> tuple[str, ...]:
    """What is mounted over parts of /proc, as containers have it: a user namespace then gets no /proc of its own."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split(" ", 5)[4] for line in file]
    return tuple(point for point in points if point.startswith("/proc/") and point != _HARMLESS)
