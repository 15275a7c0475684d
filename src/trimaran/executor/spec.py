"""From what a step wants to the OCI runtime's config.json. Pure: the same values give the same bytes.

Source: OCI runtime spec 1.0.2; defaults as BuildKit's (reference §4.1): docker's capabilities with none inheritable,
docker's seccomp profile, /proc, /dev and /sys of its own, host name `buildkitsandbox`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trimaran.errors import UsageError
from trimaran.executor import seccomp
from trimaran.linux.limits import Limits

if TYPE_CHECKING:
    from trimaran.linux.step_groups import Group

DEFAULT_HOSTNAME = "buildkitsandbox"
DEFAULT_SHM_SIZE = 64 << 20
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the container's own, not a temporary file of ours
EMULATOR_PATH = "/dev/.trimaran-emulator"

_DEFAULT_WORDS = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID CAP_SETFCAP "
    "CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE"
)
CAPABILITIES = tuple(_DEFAULT_WORDS.split())
#: every capability at its number (linux/capability.h)
_ALL_WORDS = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID "
    "CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW "
    "CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT "
    "CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD "
    "CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG "
    "CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE"
)
ALL_CAPABILITIES = tuple(_ALL_WORDS.split())

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/fs/selinux",
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

Network = Literal["default", "host", "none", "private"]
Security = Literal["sandbox", "insecure"]


class Mount(msgspec.Struct, frozen=True):
    """Something shown inside: `bind` shows the host's `source`, `tmpfs` is empty memory of at most `size` bytes."""

    target: str
    kind: Literal["bind", "tmpfs"] = "bind"
    source: str = ""
    readonly: bool = False
    size: int | None = None
    mode: int | None = None
    executable: bool = True


class ShownFile(msgspec.Struct, frozen=True):
    """A small file that everybody may read and nobody write, at `path`: gone with the process."""

    path: str
    content: bytes


class Ulimit(msgspec.Struct, frozen=True):
    """`--ulimit NAME=SOFT:HARD`; -1 is no limit."""

    name: str
    soft: int
    hard: int


class HostAlias(msgspec.Struct, frozen=True):
    """`--add-host NAME:IP`, one line of /etc/hosts."""

    name: str
    address: str


class ExecSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One process on a rootfs. `environment` is all it sees: nothing of ours is added.

    `network` `default` is replaced before a runtime sees it (sandbox.py); `network_namespace`: path of a prepared one
    (network `private`), `nameservers` its resolvers. `emulator`: path on this machine of a QEMU to start the program
    with, where binfmt_misc cannot. `cgroup_parent`: where in the hierarchy its group is made, "" for no own group;
    `within`: the group of its build there.
    `files` lie in /dev/shm: anywhere else a place for them would have to be made in the rootfs.
    """

    args: tuple[str, ...]
    environment: tuple[str, ...] = ()
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    hostname: str = DEFAULT_HOSTNAME
    mounts: tuple[Mount, ...] = ()
    network: Network = "host"
    network_namespace: str = ""
    nameservers: tuple[str, ...] = ()
    security: Security = "sandbox"
    ulimits: tuple[Ulimit, ...] = ()
    shm_size: int = DEFAULT_SHM_SIZE
    extra_hosts: tuple[HostAlias, ...] = ()
    cgroup_parent: str = ""
    files: tuple[ShownFile, ...] = ()
    terminal: bool = False
    readonly_rootfs: bool = False
    emulator: str = ""
    limits: Limits | None = None
    within: Group | None = None


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What of the machine decides the form of a spec.

    `machine`: its Go architecture. `tty_group`: gid 5 exists inside. `capabilities`: the ones we have, as a bit set.
    `own_processes`: a PID namespace and a /proc of its own can be had, else steps share this place's. `one_user`: all
    users are one, and giving files to others is pretended.
    """

    machine: str
    user_namespace: bool = False
    can_mknod: bool = False
    tty_group: bool = True
    own_processes: bool = True
    one_user: bool = False
    capabilities: int = (1 << 64) - 1


def runtime_config(
    spec: ExecSpec,
    host: Host,
    rootfs: str,
    *,
    hosts_file: str = "",
    resolver_file: str = "",
    files: Sequence[tuple[str, str]] = (),
    console: tuple[int, int] = (24, 80),
) -> bytes:
    """The config.json. The two files, where given, are shown read-only as /etc/hosts and /etc/resolv.conf.

    `files`: where those of the spec lie on this machine, by their paths inside. `console`: rows and columns of the
    terminal of a spec with one.

    Raises UsageError for values no runtime should see: a relative path, an unknown mode or ulimit, a NUL.
    """
    check(spec)
    insecure = spec.security == "insecure"
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": _process(spec, host, console),
        "root": {"path": rootfs, "readonly": spec.readonly_rootfs},
        "hostname": spec.hostname,
        "mounts": [
            *_mounts(spec, host),
            *_file_mounts((("/etc/resolv.conf", resolver_file), ("/etc/hosts", hosts_file))),
            *(_user_mount(mount) for mount in spec.mounts),
            *_file_mounts(files),
            *([_mount(EMULATOR_PATH, "bind", spec.emulator, "bind", "ro", "nosuid", "nodev")] if spec.emulator else []),
        ],
        "linux": {
            "namespaces": _namespaces(spec, host),
            # What is shared is masked by this place already, and could not be masked again.
            "maskedPaths": [] if insecure or not host.own_processes else list(_MASKED),
            "readonlyPaths": [] if insecure or not host.own_processes else list(_READONLY),
        },
    }
    if not insecure:
        config["linux"]["seccomp"] = seccomp.profile(host.machine, one_user=host.one_user)
    return msgspec.json.encode(config)


def capabilities(spec: ExecSpec, host: Host) -> list[str]:
    """What root inside may do. MKNOD goes where nothing keeps a made node from being opened."""
    ours = {name for number, name in enumerate(ALL_CAPABILITIES) if host.capabilities >> number & 1}
    if spec.security == "insecure":
        return [name for name in ALL_CAPABILITIES if name in ours]
    return [name for name in CAPABILITIES if name in ours and (name != "CAP_MKNOD" or host.can_mknod)]


def _process(spec: ExecSpec, host: Host, console: tuple[int, int]) -> dict[str, Any]:
    names = capabilities(spec, host)
    user: dict[str, Any] = {"uid": 0, "gid": 0} if host.one_user else {"uid": spec.uid, "gid": spec.gid}
    if spec.additional_gids and not host.one_user:
        user["additionalGids"] = list(spec.additional_gids)
    process: dict[str, Any] = {
        "terminal": spec.terminal,
        "user": user,
        "args": [EMULATOR_PATH, *spec.args] if spec.emulator else list(spec.args),
        "env": list(spec.environment),
        "cwd": spec.cwd,
        # The inheritable and ambient sets stay empty (CVE-2022-24769).
        "capabilities": {"bounding": names, "effective": names, "permitted": names},
        "noNewPrivileges": False,
    }
    if spec.terminal:
        process["consoleSize"] = {"height": console[0], "width": console[1]}
    if spec.ulimits:
        process["rlimits"] = [
            {
                "type": f"RLIMIT_{limit.name.upper()}",
                "soft": _limit(limit.soft),
                "hard": _limit(limit.hard),
            }
            for limit in spec.ulimits
        ]
    return process


def _limit(value: int) -> int:
    return (1 << 64) - 1 if value < 0 else value


def _namespaces(spec: ExecSpec, host: Host) -> list[dict[str, str]]:
    kinds = ("pid", "ipc", "uts", "mount") if host.own_processes else ("ipc", "uts", "mount")
    names: list[dict[str, str]] = [{"type": kind} for kind in kinds]
    if spec.network == "none":
        names.append({"type": "network"})
    elif spec.network == "private":
        names.append({"type": "network", "path": spec.network_namespace})
    return names


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _file_mounts(files: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [_mount(path, "bind", file, "bind", "ro", "nosuid", "nodev", "noexec") for path, file in files if file]


def _mounts(spec: ExecSpec, host: Host) -> list[dict[str, Any]]:
    """What every container has."""
    insecure = spec.security == "insecure"
    terminals = ["newinstance", "ptmxmode=0666", "mode=0620"] + (["gid=5"] if host.tty_group else [])
    if host.own_processes:
        processes = _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev")
    else:
        processes = _mount("/proc", "bind", "/proc", "rbind", "nosuid", "noexec", "nodev")
    mounts = [
        processes,
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", *terminals),
        _mount(_SHARED_MEMORY, "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", f"size={spec.shm_size}"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _system_mount(spec, host, insecure=insecure),
    ]
    if insecure and not host.user_namespace:
        mounts.insert(2, _mount("/dev", "bind", "/dev", "rbind", "rslave"))
        mounts.pop(1)
    return mounts


def _system_mount(spec: ExecSpec, host: Host, *, insecure: bool) -> dict[str, Any]:
    """/sys: a new sysfs belongs to a network namespace, a user namespace without its own can only show the old."""
    access = "rw" if insecure else "ro"
    if host.user_namespace and spec.network == "host":
        return _mount("/sys", "bind", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
    return _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", access)


def _user_mount(mount: Mount) -> dict[str, Any]:
    access = "ro" if mount.readonly else "rw"
    if mount.kind == "tmpfs":
        options = ["nosuid", "nodev", access]
        options += [f"size={mount.size}"] if mount.size else []
        options += [f"mode={mount.mode:o}"] if mount.mode is not None else []
        return _mount(mount.target, "tmpfs", "tmpfs", *options)
    options = ["rbind", access] + ([] if mount.executable else ["noexec", "nosuid", "nodev"])
    return _mount(mount.target, "bind", mount.source, *options)


_ULIMIT_WORDS = "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
_ULIMITS = frozenset(_ULIMIT_WORDS.split())


def check(spec: ExecSpec) -> None:
    """See `runtime_config`."""
    if not spec.args:
        raise UsageError("run a process: no command given")
    for text in (*spec.args, *spec.environment, spec.cwd, spec.hostname):
        if "\0" in text:
            raise UsageError("run a process: an argument contains a NUL character")
    if not spec.cwd.startswith("/"):
        raise UsageError(f'run a process: working folder "{spec.cwd}" is not absolute')
    if spec.security not in {"sandbox", "insecure"}:
        raise UsageError(f'run a process: unknown security mode "{spec.security}"')
    if spec.network not in {"host", "none", "private"}:
        raise UsageError(f'run a process: unknown network mode "{spec.network}"')
    if spec.network == "private" and not spec.network_namespace:
        raise UsageError("run a process: network mode private needs a prepared network namespace")
    for mount in spec.mounts:
        if not mount.target.startswith("/") or "\0" in mount.target or "\0" in mount.source:
            raise UsageError(f'run a process: mount target "{mount.target}" is not an absolute path')
        if mount.kind not in {"bind", "tmpfs"}:
            raise UsageError(f'run a process: unknown kind of mount "{mount.kind}"')
        if mount.kind == "bind" and not mount.source.startswith("/"):
            raise UsageError(f'run a process: mount source "{mount.source}" is not an absolute path')
    for file in spec.files:
        if os.path.dirname(file.path) != _SHARED_MEMORY:
            raise UsageError(f'run a process: file "{file.path}" lies in no {_SHARED_MEMORY}')
    for limit in spec.ulimits:
        if limit.name not in _ULIMITS:
            raise UsageError(
                f'run a process: unknown ulimit "{limit.name}"', hint=f"known: {' '.join(sorted(_ULIMITS))}"
            )
    for number in (spec.uid, spec.gid, *spec.additional_gids):
        if not 0 <= number < 2**31:
            raise UsageError(f"run a process: user or group id {number} is out of range")
