"""Network of a step: which mode the machine gives, and the two files a container reads about it."""

from __future__ import annotations

import asyncio
import os

import msgspec

from trimaran.errors import Unavailable
from trimaran.executor import process
from trimaran.executor.runtime import find_program
from trimaran.executor.spec import ExecSpec, HostAlias
from trimaran.linux import syscalls

_RESOLVER = "/etc/resolv.conf"
_STUB = "127.0.0.53"
_BEHIND_STUB = "/run/systemd/resolve/resolv.conf"
_PUBLIC = ("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844")


_TUN = "/dev/net/tun"
_PASTA_RESOLVER, _SLIRP_RESOLVER = "169.254.1.1", "10.0.2.3"


class Choice(msgspec.Struct, frozen=True):
    """How steps reach the network by default: `host`, or `private` by `program` (pasta or slirp4netns)."""

    mode: str
    program: str = ""
    why: str = ""

    def __str__(self) -> str:
        """As `trimaran inspect` shows it."""
        words = f"{self.mode} ({os.path.basename(self.program)})" if self.program else self.mode
        return f"{words}: {self.why}" if self.why else words


def choose(*, rootless: bool) -> Choice:
    """Root: the machine's network, as BuildKit without CNI. Else a private one where this machine has the means."""
    if not rootless:
        return Choice("host")
    programs = [path for path in map(find_program, ("pasta", "slirp4netns")) if path]
    if not programs:
        return Choice("host", why="neither pasta nor slirp4netns is installed")
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return Choice("host", why=f"{_TUN} cannot be opened by this account")
    return Choice("private", programs[0])


class Private(msgspec.Struct, frozen=True):
    """A network namespace that is connected: what a spec needs to join it."""

    namespace: str
    nameservers: tuple[str, ...]


async def open_private(choice: Choice, folder: str) -> Private:
    """Make a network namespace in `folder` and connect it, once per engine (0.1 s); it ends with the engine.

    Raises Unavailable with the program's own words.
    """
    path = f"{folder}/network-{os.urandom(4).hex()}"
    make_namespace(path)
    if os.path.basename(choice.program) == "slirp4netns":
        await _start_slirp(choice.program, path)
        return Private(path, (_SLIRP_RESOLVER,))
    await _start_pasta(choice.program, path)
    return Private(path, (_PASTA_RESOLVER,))


def make_namespace(path: str) -> None:
    """Keep a new network namespace at `path`. A thread of its own makes it: there is no way back into the machine's."""
    import threading

    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    errors: list[OSError] = []

    def make() -> None:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            syscalls.mount("/proc/thread-self/ns/net", path, None, syscalls.MS_BIND)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=make, name="network-namespace")
    thread.start()
    thread.join()
    if errors:
        raise Unavailable(f"make network namespace: {errors[0].strerror}", hint="build with --network=host")


async def _start_pasta(program: str, namespace: str) -> None:
    """pasta goes to the background when the namespace is connected. Nothing of the machine is reachable through it."""
    argv = [program, "--config-net", "--quiet", "--no-map-gw", "--dns-forward", _PASTA_RESOLVER]
    for option in ("-t", "-u", "-T", "-U"):
        argv += [option, "none"]
    said = bytearray()
    streams = process.Streams(lambda _stream, data: said.extend(data))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        # What stays in the background keeps no pipe of ours: its streams go to /dev/null when it forks.
        descriptors = {0: null, 1: streams.pipe(1), 2: streams.pipe(2)}
        environment = {"PATH": "/usr/bin:/bin"}
        pid = process.spawn([*argv, "--netns", namespace], environment=environment, descriptors=descriptors)
        streams.started()
        code = await asyncio.shield(process.watch(pid))
    finally:
        streams.close()
        os.close(null)
    if code:
        words = said.decode(errors="replace").strip() or f"exit code {code}"
        raise Unavailable(f"connect network with pasta: {words}", hint="build with --network=host")


async def _start_slirp(program: str, namespace: str) -> None:
    """slirp4netns stays in the foreground and writes one byte when it is ready."""
    argv = [program, "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path", "--ready-fd=3"]
    ready, write_end = os.pipe()
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    os.set_blocking(ready, False)

    def answered() -> None:
        if not answer.done():
            answer.set_result(os.read(ready, 1))

    loop.add_reader(ready, answered)
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        descriptors = {0: null, 1: null, 2: null, 3: write_end}
        pid = process.spawn([*argv, namespace, "tap0"], environment={"PATH": "/usr/bin:/bin"}, descriptors=descriptors)
        os.close(null)
        os.close(write_end)
        process.watch(pid)
        if await answer != b"1":
            raise Unavailable("connect network with slirp4netns: it ended at once", hint="build with --network=host")
    finally:
        loop.remove_reader(ready)
        os.close(ready)


def hosts_file(hostname: str, extra: tuple[HostAlias, ...]) -> str:
    """/etc/hosts as BuildKit writes it (reference §4.1)."""
    lines = [f"127.0.0.1\tlocalhost {hostname}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{alias.address}\t{alias.name}" for alias in extra]
    return "\n".join(lines) + "\n"


def resolver_file(text: str, *, shared: bool) -> str:
    """/etc/resolv.conf for a container: as it is when the network is `shared` with the machine.

    Else name servers on loopback, which are the machine's own, go; where none is left, public ones stand in.
    """
    if shared:
        return text
    kept, servers = [], 0
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            if words[1].startswith("127.") or words[1] == "::1":
                continue
            servers += 1
        kept.append(line)
    if not servers:
        kept += [f"nameserver {address}" for address in _PUBLIC]
    return "\n".join(kept) + "\n"


def replace_nameservers(text: str, servers: tuple[str, ...]) -> str:
    """The machine's search list and options with other name servers."""
    kept = [line for line in text.splitlines() if line.split()[:1] != ["nameserver"]]
    return "\n".join([*kept, *(f"nameserver {address}" for address in servers)]) + "\n"


def write_files(spec: ExecSpec, folder: str) -> tuple[str, str]:
    """Write both files into `folder`; their paths, the second empty when the step has no network (no names either)."""
    hosts = f"{folder}/hosts"
    _write(hosts, hosts_file(spec.hostname, spec.extra_hosts))
    resolver = f"{folder}/resolv.conf"
    if spec.network == "none":
        _write(resolver, "")
        return hosts, resolver
    if spec.nameservers:
        _write(resolver, replace_nameservers(machine_resolver(shared=False), spec.nameservers))
        return hosts, resolver
    shared = spec.network == "host"
    _write(resolver, resolver_file(machine_resolver(shared=shared), shared=shared))
    return hosts, resolver


def machine_resolver(*, shared: bool) -> str:
    """The machine's /etc/resolv.conf; not `shared`: with the servers behind a stub on loopback, which it has alone."""
    try:
        with open(_RESOLVER, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 16)
        if not shared and _STUB in text and os.path.exists(_BEHIND_STUB):
            with open(_BEHIND_STUB, encoding="utf-8", errors="replace") as file:
                return file.read(1 << 16)
        return text
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o644)
        file.write(text)
