"""The machine's runtime, opened for the namespaces the engine is in."""

from __future__ import annotations

import os

from trimaran import platforms
from trimaran.executor.containers import Containers
from trimaran.executor.crun import Crun
from trimaran.executor.isolation import Isolation
from trimaran.executor.runc import Runc
from trimaran.executor.runtime import Runtime, choose_program
from trimaran.executor.spec import Host
from trimaran.linux import cgroups, ids, mounts
from trimaran.linux.enter import Entered
from trimaran.linux.place import capabilities

_MEMBERS: dict[str, type[Containers]] = {"crun": Crun, "runc": Runc}
_TTY_GROUP = 5


_CONTAINER = Isolation("container")


def describe_host(entered: Entered, isolation: Isolation = _CONTAINER) -> Host:
    """What decides the form of a spec; waits for the engine's control group at first (0 to 10 ms)."""
    return Host(
        machine=platforms.default().architecture,
        user_namespace=entered.user_namespace,
        can_mknod=entered.can_mknod and entered.confinement.filtered(),
        capabilities=capabilities(),
        tty_group=ids.is_mapped(entered.groups, _TTY_GROUP),
        own_processes=isolation.kind != "no-process-sandbox",
        one_user=isolation.one_user,
    )


def open_runtime(
    entered: Entered, folder: str, wanted: str | None = None, isolation: Isolation = _CONTAINER
) -> Runtime:
    """crun or runc, working in `folder` (made, mode 0700): bundles in memory below it, the seccomp program kept in it.

    A chroot where that is the isolation. Raises NotFound without a runtime, UsageError for an unknown `wanted`
    (default: $TRIMARAN_RUNTIME).
    """
    host = describe_host(entered, isolation)
    if isolation.kind == "chroot":
        from trimaran.executor.chroot import Chroot

        os.makedirs(folder, 0o700, exist_ok=True)
        return Chroot(folder, host)
    name, program = choose_program(wanted)
    os.makedirs(folder, 0o700, exist_ok=True)
    work = f"{folder}/run"
    os.makedirs(work, 0o700, exist_ok=True)
    if entered.mount_namespace:
        mounts.attach_tmpfs(work, mode=0o700)
    own = cgroups.own_group() if entered.confinement.filtered() else None
    return _MEMBERS[name](program, work, host, kept=folder, open_devices_group=os.path.dirname(own) if own else "")
