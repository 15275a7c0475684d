"""Going into namespaces of our own, once, before any thread: mounts and processes of the engine die with it.

`enter` forks. The outer process stays where it was and only forwards signals (`outer.py`); the inner one returns from
`enter` as the engine: process 1 of a new PID namespace, in a mount namespace of its own, without root also in a user
namespace. The kernel kills the inner one when the outer dies, and everything in the namespace with it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Literal

import msgspec

from trimaran.errors import Denied
from trimaran.linux import cgroups, ids, mounts, outer, syscalls
from trimaran.linux.cgroups import Confinement
from trimaran.linux.place import CAP_MKNOD, CAP_SYS_ADMIN, CAP_SYS_CHROOT, Place, has_capability, masks_on_proc

_CGROUPS = "/sys/fs/cgroup"
_HANDLERS = "/proc/sys/fs/binfmt_misc"


class Entered(msgspec.Struct, frozen=True):
    """What we have inside.

    `rootless`: we are not root on the machine. `subuids`: more than one user exists inside, so RUN can act as root and
    others. `cgroups`: what is mounted at /sys/fs/cgroup. `confinement`: its `filtered()` says whether device access of
    everything started here is filtered. `mount_namespace` is False where the place grants no namespace at all, and
    `pid_namespace` where it grants none with a /proc of its own: `refusal` says what was refused.
    """

    rootless: bool
    user_namespace: bool
    users: tuple[ids.IdRange, ...]
    groups: tuple[ids.IdRange, ...]
    subuids: bool
    pid_namespace: bool
    cgroups: Literal["none", "v2"]
    can_mknod: bool
    confinement: Confinement
    mount_namespace: bool = True
    refusal: str = ""

    @property
    def place(self) -> Place:
        return Place(
            mounts=self.mount_namespace,
            processes=self.pid_namespace,
            ids=self.subuids,
            root=os.geteuid() == 0 and has_capability(CAP_SYS_CHROOT),
            refusal=self.refusal,
        )


def describe(*, mount_namespace: bool = True, pid_namespace: bool | None = None, refusal: str = "") -> Entered:
    """What this process has without entering anything: where nothing can be, and for tests."""
    users, groups = ids.current_maps()
    nested = mounts.in_user_namespace()
    return Entered(
        rootless=os.geteuid() != 0 or (nested and users[0].outside != 0),
        user_namespace=nested,
        users=users,
        groups=groups,
        subuids=ids.several(users),
        pid_namespace=os.getpid() == 1 if pid_namespace is None else pid_namespace,
        cgroups="v2" if os.path.exists(f"{_CGROUPS}/cgroup.controllers") else "none",
        can_mknod=not nested and has_capability(CAP_MKNOD),
        confinement=Confinement.none(),
        mount_namespace=mount_namespace,
        refusal=refusal,
    )


def foresee() -> Place:
    """The place as `enter` would find it, tried in a child that ends at once. No thread may run; about 3 ms."""
    from trimaran.linux import user_namespace

    root = os.geteuid() == 0
    nested = mounts.in_user_namespace()
    users, groups = user_namespace.wanted_maps()
    refusal = "" if root and has_capability(CAP_SYS_ADMIN) else user_namespace.refused()
    if refusal and not root:
        from trimaran.linux import vouched

        refusal = "" if vouched.is_open(users, groups) else refusal
    masks = () if refusal or (root and not nested and has_capability(CAP_SYS_ADMIN)) else masks_on_proc()
    return Place(
        mounts=not refusal,
        processes=not refusal and not masks,
        ids=not refusal and ids.several(users),
        root=root and has_capability(CAP_SYS_CHROOT),
        refusal=refusal or (_hidden(masks[0]) if masks else ""),
    )


def enter(*, rootless: bool | None = None, terminal: bool = False, manner: outer.Manner = outer.WORK) -> Entered:
    """Become the engine's inner process; the outer one never returns, it ends as the inner one does.

    `rootless` makes a user namespace too (default: unless we may mount as we are). `terminal` gives the inner process
    the foreground of the terminal, for programs that read it; else Ctrl-C reaches it through the outer one, once.
    `manner` says how signals that ask us to end are passed on.
    Where the place grants no namespaces, or no /proc of their own, this process itself goes on without them and
    `refusal` says why; Denied or Unsupported is raised for what is half granted. Costs about 4 ms. No thread may run.
    """
    _arrive()
    if rootless is None:
        rootless = not (os.geteuid() == 0 and has_capability(CAP_SYS_ADMIN))
    outside = os.geteuid() != 0 or _is_ours_alone()
    if rootless and (refusal := _make_user_namespace()):
        _enter_by_runtime(terminal=terminal, manner=manner)
        return describe(mount_namespace=False, pid_namespace=False, refusal=refusal)
    if (rootless or mounts.in_user_namespace()) and (masks := masks_on_proc()):
        return _share_processes(_hidden(masks[0]))
    sys.stdout.flush()
    sys.stderr.flush()
    alive_read, alive_write = os.pipe()
    confinement = Confinement.pending() if not rootless else Confinement.none()
    _unshare(syscalls.CLONE_NEWPID, "PID")
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, outer.FORWARDED | {signal.SIGCHLD})
    pid = os.fork()
    if pid:
        os.close(alive_read)
        outer.watch(pid, alive=alive_write, confinement=confinement, terminal=terminal, manner=manner)
    os.close(alive_write)
    confinement.be_inner()
    _become_inner(alive_read, terminal=terminal)
    signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
    shown = _make_mounts(rootless=rootless)
    confinement.start()
    users, groups = ids.current_maps()
    return Entered(
        rootless=outside,
        user_namespace=rootless or mounts.in_user_namespace(),
        users=users,
        groups=groups,
        subuids=ids.several(users),
        pid_namespace=True,
        cgroups=shown,
        can_mknod=not rootless and has_capability(CAP_MKNOD),
        confinement=confinement,
    )


def _arrive() -> None:
    import resource

    # What a process leaves of its memory when it crashes, secrets too, would lie in the layer or folder it works in
    # (T59). Only the limit in force is lowered: a step may ask for more, by `ulimit -c` or --ulimit core=.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if "TRIMARAN_VOUCHED_BUNDLE" in os.environ:
        from trimaran.linux import vouched

        vouched.arrive()


def _make_user_namespace() -> str:
    from trimaran.linux import user_namespace

    return user_namespace.restricted() or user_namespace.make()


def _enter_by_runtime(*, terminal: bool, manner: outer.Manner) -> None:
    from trimaran.linux import user_namespace, vouched

    vouched.enter_by_runtime(*user_namespace.wanted_maps(), terminal=terminal, manner=manner)


def _is_ours_alone() -> bool:
    """Whether root here is an ordinary account outside."""
    users, _ = ids.current_maps()
    return mounts.in_user_namespace() and users[0].outside != 0


def _hidden(mask: str) -> str:
    return f"a /proc of its own is refused, since {mask} is hidden here"


def _share_processes(refusal: str) -> Entered:
    """Mounts of our own, but the processes of the place: there is no process 1 of ours that ends what we leave."""
    _unshare(syscalls.CLONE_NEWNS, "mount")
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    _show_cgroups(rootless=True)
    return describe(pid_namespace=False, refusal=refusal)


def _unshare(flags: int, kind: str) -> None:
    try:
        syscalls.unshare(flags)
    except OSError as error:
        hint = "run `trimaran doctor`: it says which setting of this machine forbids it"
        raise Denied(f"make {kind} namespace: {error.strerror}", hint=hint) from error


def _become_inner(alive: int, *, terminal: bool) -> None:
    """Die with the outer process, own a process group, and survive being in the background of the terminal."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_blocking(alive, False)
    try:
        if os.read(alive, 1) == b"":
            os._exit(1)  # the outer process died before the kernel was told to kill us with it
    except BlockingIOError:
        pass
    os.close(alive)
    os.setpgid(0, 0)
    # Process 1 has no default actions: writing from the background must not stop us, reading from it is an error.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, _leave)
    if terminal:
        outer.take_foreground(os.getpgrp())


def _leave(number: int, _frame: object) -> None:
    """Until the program sets its own handlers: what the default action would have meant."""
    raise SystemExit(128 + number)


def _make_mounts(*, rootless: bool) -> Literal["none", "v2"]:
    """Private mounts, /proc of the new PID namespace, and a cgroup v2 view where the runtime looks for it."""
    _unshare(syscalls.CLONE_NEWNS, "mount")
    try:
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
        handlers = _clone_mount(_HANDLERS)
        mounts.attach_proc()
        _show_mount(handlers, _HANDLERS)
    except (OSError, mounts.MountFailed) as error:
        raise Denied(
            f"mount /proc of the engine's namespace: {error}",
            hint="inside a container, start that with `--security-opt systempaths=unconfined` (docker) or "
            "`--security-opt unmask=ALL` (podman); on Ubuntu 24.04 see `trimaran doctor` about AppArmor",
        ) from error
    return _show_cgroups(rootless=rootless)


def _show_cgroups(*, rootless: bool) -> Literal["none", "v2"]:
    if os.path.exists(f"{_CGROUPS}/cgroup.controllers"):
        return "v2"
    return "v2" if _show_cgroup2(rootless=rootless) else "none"


def _show_cgroup2(*, rootless: bool) -> bool:
    """On a machine with cgroup v1 (or both): version 2 where runtimes look for it, seen by us alone."""
    if not os.path.isdir(_CGROUPS):
        return False
    there = cgroups.hierarchy()
    try:
        if there is not None:
            syscalls.mount(there, _CGROUPS, None, syscalls.MS_BIND)  # a new mount waits for the kernel's cgroup lock
            return True
        if rootless:
            syscalls.unshare(syscalls.CLONE_NEWCGROUP)
        mounts.attach_cgroup2(_CGROUPS)
    except (OSError, mounts.MountFailed):
        return False
    return True


def _clone_mount(path: str) -> int | None:
    """A detached copy of a mount below /proc, which the new /proc would hide; None when it is not mounted."""
    if not os.path.exists(f"{path}/status"):
        return None
    try:
        return syscalls.open_tree(syscalls.AT_FDCWD, path, syscalls.OPEN_TREE_CLONE)
    except OSError:
        return None


def _show_mount(fd: int | None, path: str) -> None:
    if fd is None:
        return
    try:
        syscalls.move_mount(fd, syscalls.AT_FDCWD, path)
    except OSError:
        pass  # then no emulator is known, and a foreign step says so
    finally:
        os.close(fd)
