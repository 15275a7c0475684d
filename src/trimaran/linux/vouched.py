"""A user namespace by way of a program that the distribution vouches for, where our own is refused one.

AppArmor on Ubuntu (since 23.10) gives user namespaces rights only to programs it has a profile for: crun and runc are,
an interpreter in somebody's home is not. So the same command is started once more by the runtime, in a namespace that
it makes: a container whose root shows the machine's folders as they are, with all rights in it and none outside.

Law: what the runtime is told lies in memory, mode 0700, and goes as soon as it was read: it holds our environment.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

from trimaran.linux import outer, syscalls
from trimaran.linux.cgroups import Confinement
from trimaran.linux.ids import IdRange

_MARK = "TRIMARAN_VOUCHED_BUNDLE"
_RUNTIMES = ("/usr/bin/crun", "/usr/bin/runc", "/usr/sbin/runc")


def arrive() -> None:
    """In the process that a runtime started: forget how we came here, and end when the runtime does."""
    bundle = os.environ.pop(_MARK, "")
    if bundle:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        shutil.rmtree(bundle, ignore_errors=True)


def is_open(users: Sequence[IdRange], groups: Sequence[IdRange]) -> bool:
    """Whether `enter_by_runtime` would find a way, tried with a program that does nothing."""
    return _way(users, groups) is not None


def enter_by_runtime(
    users: Sequence[IdRange], groups: Sequence[IdRange], *, terminal: bool, manner: outer.Manner
) -> None:
    """Start this command again in a namespace of a runtime's, and end as it ends; returns where no runtime may.

    Costs the start of two containers and of one interpreter (some 80 ms).
    """
    way = _way(users, groups)
    if way is None:
        return
    runtime, folder, shown = way
    bundle = _bundle(folder, shown, users, groups, [sys.executable, *sys.orig_argv[1:]], dict(os.environ))
    alive_read, alive_write = os.pipe()
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, outer.FORWARDED | {signal.SIGCHLD})
    pid = os.fork()
    if pid == 0:
        os.close(alive_write)
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        command = _command(runtime, folder, bundle)
        os.execv(command[0], command)  # noqa: S606 - a fixed program of the system's folders
    os.close(alive_read)
    outer.watch(pid, alive=alive_write, confinement=Confinement.none(), terminal=terminal, manner=manner)


def _way(users: Sequence[IdRange], groups: Sequence[IdRange]) -> tuple[str, str, list[dict[str, object]]] | None:
    """The runtime, its folder, and what is shown in its container."""
    folder = _memory()
    runtime = next((path for path in _RUNTIMES if os.access(path, os.X_OK)), None)
    if folder is None or runtime is None or os.geteuid() == 0:
        return None
    shown = _show_machine(f"{folder}/root")
    if not _may(runtime, folder, _bundle(folder, shown, users, groups, ["/bin/true"], {})):
        return None
    return runtime, folder, shown


def _memory() -> str | None:
    """A folder of this account alone that is no disk; None where there is none."""
    for above in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"):  # noqa: S108 - a name of our own, checked
        folder = f"{above}/trimaran-{os.getuid()}"
        if above and os.access(above, os.W_OK):
            try:
                os.makedirs(folder, 0o700, exist_ok=True)
                status = os.lstat(folder)
            except OSError:
                continue
            if status.st_uid == os.getuid() and status.st_mode & 0o170777 == 0o040700:
                return folder
    return None


def _show_machine(root: str) -> list[dict[str, object]]:
    """Make the empty folder on which the machine's folders will be shown; the mounts for that."""
    mounts: list[dict[str, object]] = []
    os.makedirs(root, 0o700, exist_ok=True)
    for name in sorted(os.listdir("/")):
        place = f"{root}/{name}"
        if os.path.islink(f"/{name}"):
            if not os.path.lexists(place):
                os.symlink(os.readlink(f"/{name}"), place)
        elif os.path.isdir(f"/{name}"):
            os.makedirs(place, 0o700, exist_ok=True)
            options = ["rbind", "rslave"]
            mounts.append({"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": options})
    return mounts


def _bundle(
    folder: str,
    shown: list[dict[str, object]],
    users: Sequence[IdRange],
    groups: Sequence[IdRange],
    command: list[str],
    environment: dict[str, str],
) -> str:
    bundle = f"{folder}/{os.getpid()}-{os.urandom(4).hex()}"
    os.mkdir(bundle, 0o700)
    rights = [f"CAP_{name}" for name in _RIGHTS.split()]
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": command,
            "env": [f"{name}={value}" for name, value in (environment | {_MARK: bundle}).items()],
            "cwd": os.getcwd(),
            "capabilities": {"bounding": rights, "effective": rights, "permitted": rights},
            "noNewPrivileges": False,
        },
        "root": {"path": f"{folder}/root", "readonly": False},
        "mounts": shown,
        "linux": {
            "namespaces": [{"type": "user"}, {"type": "mount"}],
            "uidMappings": [_mapping(each) for each in users],
            "gidMappings": [_mapping(each) for each in groups],
        },
    }
    fd = os.open(f"{bundle}/config.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(config, file)
    return bundle


_RIGHTS = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_CHROOT SYS_PTRACE SYS_ADMIN SYS_NICE SYS_RESOURCE "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE SETFCAP"
)


def _mapping(each: IdRange) -> dict[str, int]:
    return {"containerID": each.inside, "hostID": each.outside, "size": each.length}


def _command(runtime: str, folder: str, bundle: str) -> list[str]:
    alone = ["--cgroup-manager=disabled"] if runtime.endswith("crun") else []
    name = os.path.basename(bundle)
    return [runtime, *alone, f"--root={folder}/state", "--log=/dev/null", "run", f"--bundle={bundle}", name]


def _may(runtime: str, folder: str, bundle: str) -> bool:
    """Whether a program that does nothing can be started so."""
    try:
        command = _command(runtime, folder, bundle)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        return done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        shutil.rmtree(bundle, ignore_errors=True)
