"""What crun and runc share: a bundle in a folder, one foreground process per container, its streams, its end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress

from trimaran.errors import Denied, TrimaranError, Unsupported
from trimaran.executor import network, process
from trimaran.executor.process import Output, Streams
from trimaran.executor.runtime import Exit, Signals, Terminal
from trimaran.executor.spec import ExecSpec, Host, runtime_config
from trimaran.executor.step_init import init_command
from trimaran.linux import paths, step_groups
from trimaran.linux.limits import Limits

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TERMINAL_SIZE = 0x5414  # TIOCSWINSZ


class Containers:
    """A runtime program and its folders, both mode 0700 and ours alone.

    `folder` is for bundles (in memory where possible), `kept` for what outlives the engine.
    """

    name = ""

    def __init__(self, program: str, folder: str, host: Host, *, kept: str = "", open_devices_group: str = "") -> None:
        self.program = program
        self.folder = folder
        self.kept = kept or folder
        self.host = host
        self._open_devices_group = open_devices_group
        os.makedirs(f"{folder}/state", 0o700, exist_ok=True)

    def arguments(self, identity: str, bundle: str) -> list[str]:
        """The command that runs the bundle in the foreground."""
        raise NotImplementedError

    def _command(self, identity: str, bundle: str) -> list[str]:
        """`arguments`, below a process that ends what the container leaves where no PID namespace does."""
        argv = self.arguments(identity, bundle)
        return argv if self.host.own_processes else init_command("exec", f"{bundle}/pid", *argv)

    def config(self, spec: ExecSpec, rootfs: str, bundle: str, terminal: Terminal) -> bytes:
        hosts, resolver = network.write_files(spec, bundle)
        console = (terminal.rows, terminal.columns)
        files = [(file.path, f"{bundle}/file{number}") for number, file in enumerate(spec.files)]
        for (_, place), file in zip(files, spec.files, strict=True):
            _write(place, file.content, 0o444)
        return runtime_config(
            spec, self.host, rootfs, hosts_file=hosts, resolver_file=resolver, files=files, console=console
        )

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
        terminal, signals = terminal or Terminal(), signals or Signals()
        identity = f"trimaran-{os.urandom(10).hex()}"
        check_rootfs(rootfs, spec.cwd)
        with ExitStack() as stack:
            bundle = stack.enter_context(_bundle(self.folder, identity))
            group = stack.enter_context(_group(identity, spec))
            _write(f"{bundle}/config.json", self.config(spec, rootfs, bundle, terminal))
            argv = self._command(identity, bundle)
            folders = group.folders
            if spec.security == "insecure" and self._open_devices_group and not spec.cgroup_parent:
                folders = (self._open_devices_group, *folders)
            if folders:
                argv = _in_groups(argv, folders)
            before = group.kills()
            errors = f"{bundle}/error.json"
            heard = _Heard(output)
            if spec.terminal:
                code = await self._run_on_terminal(argv, heard, stdin, terminal, signals)
            else:
                code = await self._run_on_pipes(argv, heard, stdin, signals)
            if code and (message := _runtime_error(errors) or heard.refusal(code, spec.args[0])):
                raise explain(self.name, message, spec)
            killed = 128 - code if code < 0 else code
            number = killed - 128 if 128 < killed < 128 + 65 else 0
            return Exit(
                code=killed,
                signal=number,
                oom=(group.limits_memory() or number == signal.SIGKILL) and group.kills() > before,
                peak_memory=group.peak(),
            )

    async def _run_on_pipes(self, argv: list[str], output: Output, stdin: int | None, signals: Signals) -> int:
        streams = Streams(output)
        try:
            null = -1 if stdin is not None else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            source = stdin if stdin is not None else null
            descriptors = {0: source, 1: streams.pipe(1), 2: streams.pipe(2)}
            pid = process.spawn_step(argv, environment={"PATH": _PATH}, descriptors=descriptors)
            if null >= 0:
                os.close(null)
            streams.started()
            code = await _supervise(pid, signals)
            await streams.drained()
            return code
        finally:
            streams.close()

    async def _run_on_terminal(
        self, argv: list[str], output: Output, stdin: int | None, terminal: Terminal, signals: Signals
    ) -> int:
        """The runtime gets a terminal of ours and passes it on to the container's; we copy between it and the user."""
        ours, theirs = os.openpty()
        attachment = _Attachment(ours)
        attachment.resized(terminal.rows, terminal.columns)
        streams = Streams(output)
        loop = asyncio.get_running_loop()
        try:
            streams.watch(os.dup(ours), 1)
            attachment.pid = process.spawn_step(
                argv, environment={"PATH": _PATH}, descriptors={0: theirs, 1: theirs, 2: theirs}
            )
            os.close(theirs)
            theirs = -1
            terminal.attached.append(attachment)
            if stdin is not None:
                loop.add_reader(stdin, _copy_input, loop, stdin, ours)
            code = await _supervise(attachment.pid, signals)
            await streams.drained()
            return code
        finally:
            if stdin is not None:
                loop.remove_reader(stdin)
            with suppress(ValueError):
                terminal.attached.remove(attachment)
            streams.close()
            os.close(ours)
            if theirs >= 0:
                os.close(theirs)


async def _supervise(pid: int, signals: Signals) -> int:
    signals.runtime = pid
    try:
        return await process.supervise(pid)
    finally:
        signals.runtime = 0


class _Heard:
    """Passes output on and keeps its beginning.

    The kernel refuses a program only after a runtime has shut its log, so both runtimes say so on the process's own
    stderr and exit with 1: runc in words, which crun's line of JSON is turned into.
    """

    __slots__ = ("_begin", "_output")

    def __init__(self, output: Output) -> None:
        self._output = output
        self._begin = b""

    def __call__(self, stream: int, data: bytes) -> None:
        if not self._begin and data.startswith(b'{"msg":"exec container process'):
            data = _NOT_EXECUTED.sub(_in_words, data)
        if len(self._begin) < 4096:
            self._begin += data
        self._output(stream, data)

    def refusal(self, code: int, program: str) -> str:
        """What the kernel said of `program`; "" when it ran."""
        text = self._begin.decode(errors="replace").strip()
        if code != 1 or len(text) >= 4096 or "\n" in text:
            return ""
        is_missing = text.startswith(f"exec {program}: ") and text.endswith("no such file or directory")
        return text if is_missing or text.lower().find("exec format error") > 0 else ""


_NOT_EXECUTED = re.compile(
    rb'\{"msg":"exec container process (?:\(missing dynamic library\?\) )?'
    rb'`([^`"]*)`: ([^"]*)","level":"error",[^}]*\}'
)


def _in_words(found: re.Match[bytes]) -> bytes:
    return b"exec " + found[1] + b": " + found[2].lower()


class _Attachment:
    __slots__ = ("fd", "pid")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.pid = 0

    def resized(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.fd, _TERMINAL_SIZE, size)
        if not self.pid:
            return
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGWINCH)  # runc passes it on, crun 1.8 does not: set it inside too
        for pid in process.descendants(self.pid)[:1]:
            with suppress(OSError):
                fd = os.open(f"/proc/{pid}/fd/0", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    fcntl.ioctl(fd, _TERMINAL_SIZE, size)
                finally:
                    os.close(fd)


def _copy_input(loop: asyncio.AbstractEventLoop, source: int, target: int) -> None:
    try:
        data = os.read(source, 4096)
    except OSError:
        data = b""
    if not data:
        loop.remove_reader(source)
        data = b"\x04"  # end of input, as a terminal says it
    with suppress(OSError):
        os.write(target, data)


@contextmanager
def _bundle(folder: str, identity: str) -> Iterator[str]:
    path = f"{folder}/{identity}"
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        for name in os.listdir(path):
            with suppress(OSError):
                os.unlink(f"{path}/{name}")
        with suppress(OSError):
            os.rmdir(path)


def _write(path: str, content: bytes, mode: int = 0o600) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(content)


def _group(identity: str, spec: ExecSpec) -> AbstractContextManager[step_groups.Group]:
    if not spec.limits and not spec.cgroup_parent and not spec.within:
        return nullcontext(step_groups.NONE)
    return step_groups.group(
        identity,
        spec.limits or Limits(),
        parent=spec.cgroup_parent,
        within=spec.within,
        filtered=spec.security != "insecure",
    )


_ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1"/cgroup.procs || exit 125; shift; done; shift; exec "$@"'


def _in_groups(argv: list[str], folders: Sequence[str]) -> list[str]:
    """Start through a shell that first moves itself into the groups: no moment outside of them."""
    return ["/bin/sh", "-c", _ENTER, "sh", *folders, "--", *argv]


def check_rootfs(rootfs: str, cwd: str) -> None:
    """Refuse what has let containers out through their runtimes.

    /dev, /proc or /sys as a symlink: runc before 1.3.6 makes device links where it points (CVE-2026-41579). A working
    folder that leads out or through /proc (CVE-2024-21626), resolved as the container will see it; one that is missing
    is the runtime's to make, inside.
    """
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in ("dev", "proc", "sys"):
            with suppress(FileNotFoundError):
                if stat.S_ISLNK(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode):
                    raise Denied(
                        f"start container: /{name} of the image is a symlink",
                        hint=f"a runtime could be led out of the image by it; make /{name} a folder",
                    )
        resolved = paths.real_place(root, cwd)
    except OSError as error:
        raise Denied(f'run a process: working folder "{cwd}": {error.strerror}') from error
    finally:
        os.close(root)
    if resolved.split("/", 1)[0] == "proc":
        raise Denied(f'run a process: working folder "{cwd}" lies in /proc', hint="choose another WORKDIR")


def _runtime_error(path: str) -> str:
    """What the runtime itself had to say, from its log file of JSON lines; empty when only the process failed."""
    import msgspec

    try:
        with open(path, "rb") as file:
            lines = file.read(1 << 16).splitlines()
    except OSError:
        return ""
    messages = []
    for line in lines:
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(record, dict) and record.get("level") == "error":
            messages.append(str(record.get("msg", "")))
    return "; ".join(messages)


def explain(name: str, message: str, spec: ExecSpec) -> TrimaranError:
    """A runtime's message as an error with its way out."""
    low = message.lower()
    command = spec.args[0] if spec.args else ""
    if "exec format error" in low:
        return Unsupported(
            f'start "{command}": the program is of another architecture: {message}',
            hint="register an emulator: trimaran binfmt --install all",
        )
    if message.startswith("exec ") and low.endswith("no such file or directory"):
        return ContainerNotStarted(
            f'start "{command}": {message}',
            code=127,
            hint="it is there, but what starts it is not: the interpreter that its first line names, or the loader "
            "it was linked for (a program for glibc in an image with musl, or the other way round)",
        )
    if "rlimit" in low:
        return Denied(
            f"set ulimits of the step: {message}", hint="a limit cannot be raised above the one of the calling shell"
        )
    if "executable file" in low or ("no such file or directory" in low and command in message):
        return ContainerNotStarted(f'start "{command}": {message}', code=127)
    if "open executable" in low or ("permission denied" in low and command in message):
        return ContainerNotStarted(f'start "{command}": {message}', code=126)
    return ContainerNotStarted(f"start container with {name}: {message}", code=125)


class ContainerNotStarted(TrimaranError):
    """No process ran; `code` is what a shell or docker exits with (127 not found, 126 not executable, 125 else)."""

    def __init__(self, message: str, *, code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
