"""The member of `Runtime` for root without the right to mount: a step shut into its folder by chroot and Landlock.

What makes it a sandbox: no right to change root again, Docker's capabilities but MKNOD, no new privileges, Docker's
seccomp list, no descriptor of ours, and Landlock, which lets it reach nothing outside the folder even by a way out, and
signal nobody outside. What it is not: no mounts (so no `RUN --mount`, no /proc), this place's network and process ids.
"""

from __future__ import annotations

import base64
import fcntl
import os

import msgspec

from trimaran.errors import NotFound, Unsupported
from trimaran.executor import furnishing, network, process, seccomp, seccomp_filter, step_init
from trimaran.executor.containers import ContainerNotStarted, check_rootfs
from trimaran.executor.process import Output, Streams
from trimaran.executor.runtime import Exit, Signals, Terminal
from trimaran.executor.spec import ALL_CAPABILITIES, CAPABILITIES, ExecSpec, Host, check

_NEEDED = ("CAP_SYS_CHROOT", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_MKNOD")
_ABOVE = 16
_GIVEN_UP = frozenset({"CAP_SYS_CHROOT", "CAP_MKNOD"})


class _Refusal(msgspec.Struct):
    what: str
    errno: int
    message: str
    code: int


class Chroot:
    """`folder`, mode 0700, keeps the seccomp program."""

    name = "chroot"

    def __init__(self, folder: str, host: Host) -> None:
        self.host = host
        self._folder = folder

    async def run(
        self,
        spec: ExecSpec,
        rootfs: str,
        *,
        output: Output,
        stdin: int | None = None,
        terminal: Terminal | None = None,
        signals: Signals | None = None,
    ) -> Exit:
        check(spec)
        _refuse(spec)
        self._require_rights()
        check_rootfs(rootfs, spec.cwd)
        body = msgspec.json.encode(self._words(spec, rootfs))
        hosts = network.hosts_file(spec.hostname, spec.extra_hosts)
        with furnishing.furnished(rootfs, hosts=hosts, files=spec.files):
            code, refusal = await _start(body, output, stdin)
        if refusal:
            told = msgspec.json.decode(refusal, type=_Refusal)
            what = told.what or f'start "{spec.args[0]}"'
            raise ContainerNotStarted(f"{what}: {told.message}", code=told.code)
        return Exit(code=code, signal=code - 128 if 128 < code < 128 + 65 else 0)

    def _words(self, spec: ExecSpec, rootfs: str) -> dict[str, object]:
        program = seccomp_filter.program(seccomp.profile(self.host.machine), self._folder)
        if program is None:
            raise NotFound(
                "run a process in a chroot: there is no libseccomp here to make its system call filter",
                hint="install it: apt-get install libseccomp2 (or apk add libseccomp)",
            )
        return {
            "root": rootfs,
            "args": spec.args,
            "environment": _with_home(spec),
            "cwd": spec.cwd,
            "uid": spec.uid,
            "gid": spec.gid,
            "groups": spec.additional_gids,
            "limits": [(limit.name, limit.soft, limit.hard) for limit in spec.ulimits],
            "capabilities": self._kept(),
            "seccomp": base64.b64encode(program).decode(),
        }

    def _kept(self) -> int:
        """Capabilities of root inside, a bit per number."""
        kept = 0
        for number, name in enumerate(ALL_CAPABILITIES):
            if name in CAPABILITIES and name not in _GIVEN_UP and self.host.capabilities >> number & 1:
                kept |= 1 << number
        return kept

    def _require_rights(self) -> None:
        missing = [name for name in _NEEDED if not self.host.capabilities >> ALL_CAPABILITIES.index(name) & 1]
        if missing:
            options = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in missing)
            raise Unsupported(
                f"run a process in a chroot: this container lacks {', '.join(missing)}",
                hint=f"start it with {options}",
            )


def _refuse(spec: ExecSpec) -> None:
    """What needs a mount or a namespace is an error, never left out."""
    wanted = {
        "a mount": bool(spec.mounts),
        "--network=none": spec.network == "none",
        "--security=insecure": spec.security == "insecure",
        "--cgroup-parent": bool(spec.cgroup_parent),
        "a resource limit": spec.limits is not None or spec.within is not None,
        "a terminal": spec.terminal,
        "a read-only root": spec.readonly_rootfs,
        "an emulator": bool(spec.emulator),
    }
    for name, asked in wanted.items():
        if asked:
            raise Unsupported(
                f"run a process in a chroot: this place refuses the mount or namespace that {name} needs",
                hint="`trimaran doctor` says what would give steps a container",
            )


def _with_home(spec: ExecSpec) -> tuple[str, ...]:
    """Runtimes read HOME from passwd; root's is known."""
    if any(variable.startswith("HOME=") for variable in spec.environment):
        return spec.environment
    return (*spec.environment, "HOME=/root" if spec.uid == 0 else "HOME=/")


def _moved(fd: int) -> int:
    """The same descriptor with a number that is none of the program's."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    finally:
        os.close(fd)


async def _start(body: bytes, output: Output, stdin: int | None) -> tuple[int, bytes]:
    """The exit code, and what the first process had to say when the program could not be started."""
    streams = Streams(output)
    errors_read, errors_write = os.pipe()
    with os.fdopen(os.memfd_create("step", os.MFD_CLOEXEC), "r+b") as file:
        file.write(body)
        file.seek(0)
        spec_fd = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    errors_write = _moved(errors_write)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pid = process.spawn_step(
            step_init.init_command("chroot"),
            environment={"PATH": "/usr/bin:/bin"},
            descriptors={
                0: null if stdin is None else stdin,
                1: streams.pipe(1),
                2: streams.pipe(2),
                step_init.SPEC: spec_fd,
                step_init.ERRORS: errors_write,
            },
        )
        streams.started()
        code = await process.supervise(pid)
        await streams.drained()
        os.set_blocking(errors_read, False)
        os.close(errors_write)
        errors_write = -1
        return code, os.read(errors_read, 1 << 16)
    finally:
        streams.close()
        for fd in (errors_read, errors_write, spec_fd, null):
            if fd >= 0:
                os.close(fd)
