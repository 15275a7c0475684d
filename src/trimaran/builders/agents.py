"""Ssh agents of this machine's user: the sockets of running ones, and one of our own for files of keys.

For files an `ssh-agent` of OpenSSH is started inside the engine's namespace, which ends with it. Its socket is in
memory, the keys reach it through a pipe: no copy on disk and no command line has them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import NotFound, Unavailable, Unsupported, UsageError
from trimaran.executor import process
from trimaran.executor.runtime import find_program
from trimaran.linux import mounts
from trimaran.sources.given import AgentSource

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_KEY_LIMIT = 100 << 10
_SECONDS = 60.0
"""For a start that takes milliseconds; a machine may be busy."""


class LocalAgents:
    """`sources.given.Agents`. What is wrong with a source is said at once: before any step runs."""

    def __init__(self, sources: Sequence[AgentSource], environment: Mapping[str, str]) -> None:
        self._sockets: dict[str, str] = {}
        self._keys: dict[str, tuple[str, ...]] = {}
        self._stack = ExitStack()
        self._starting = asyncio.Lock()
        for source in sources:
            self._add(source, environment)

    def _add(self, source: AgentSource, environment: Mapping[str, str]) -> None:
        paths = source.paths or (environment.get("SSH_AUTH_SOCK", ""),)
        if not all(paths):
            raise UsageError(
                f"use ssh agent {source.id}: SSH_AUTH_SOCK is not set",
                hint="start an agent and add a key (ssh-agent, ssh-add), or name a socket or key: --ssh default=PATH",
            )
        sockets = [path for path in paths if _is_socket(source.id, path)]
        if not sockets:
            self._keys[source.id] = paths
        elif len(paths) > 1:
            raise UsageError(f"use ssh agent {source.id}: one socket or several key files, not both")
        else:
            self._sockets[source.id] = sockets[0]

    async def check(self, identifier: str) -> bool:
        if identifier not in self._sockets and identifier not in self._keys:
            return False
        _, writer = await self.connect(identifier)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True

    async def connect(self, identifier: str) -> Connection:
        async with self._starting:
            if identifier not in self._sockets:
                self._sockets[identifier] = await self._start(identifier, self._keys[identifier])
        try:
            return await asyncio.open_unix_connection(self._sockets[identifier])
        except OSError as error:
            raise Unavailable(f"connect to ssh agent {identifier}: {error.strerror}") from error

    async def _start(self, identifier: str, paths: Sequence[str]) -> str:
        """An agent with these keys; the path of its socket."""
        agent, adder = _programs(identifier)
        folder = self._folder()
        name = f"/proc/{os.getpid()}/fd/{folder}/{len(self._sockets)}"  # socket addresses are short
        pid, end = _spawn([agent, "-D", "-a", name], {})
        self._stack.callback(process.kill_group, pid)
        async with asyncio.timeout(_SECONDS):
            while not listens(name):
                if end.done():
                    raise Unavailable(f"start ssh agent {identifier}: ssh-agent ended with {end.result()}")
                await asyncio.sleep(0.005)
        for path in paths:
            await _add_key(adder, name, identifier, path)
        return name

    def _folder(self) -> int:
        """A descriptor of a folder in memory that nobody else sees."""
        import tempfile

        path = tempfile.mkdtemp(prefix="trimaran-agent-")
        self._stack.callback(os.rmdir, path)
        self._stack.enter_context(mounts.tmpfs(path, mode=0o700))
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._stack.callback(os.close, fd)
        return fd

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _is_socket(identifier: str, path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise NotFound(f"use ssh agent {identifier}: {path}: {(error.strerror or '').lower()}") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"use ssh agent {identifier}: {path} is a folder", hint="name a socket or a private key")
    return stat.S_ISSOCK(mode)


def _programs(identifier: str) -> tuple[str, str]:
    agent, adder = find_program("ssh-agent"), find_program("ssh-add")
    if agent is None or adder is None:
        raise Unsupported(
            f"use keys for ssh agent {identifier}: OpenSSH's ssh-agent is not installed",
            hint="install openssh-client, or give the socket of a running agent: --ssh default=SOCKET",
        )
    return agent, adder


def listens(path: str) -> bool:
    """Whether somebody takes connections at this socket: its name is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(path) == 0


def _read_key(cancel: Cancel, identifier: str, path: str) -> bytes:
    cancel.check()
    try:
        with open(path, "rb") as file:
            return file.read(_KEY_LIMIT)
    except OSError as error:
        raise NotFound(f"use ssh agent {identifier}: {path}: {(error.strerror or '').lower()}") from error


async def _add_key(adder: str, agent: str, identifier: str, path: str) -> None:
    """Hand a private key to the agent; one with a passphrase is refused: nobody is asked during a build."""
    key = await aio.in_thread(_read_key, identifier, path)
    # ssh-add asks for a passphrase by the program named, which says no.
    variables = {"SSH_AUTH_SOCK": agent, "SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "none"}
    pid, end = _spawn([adder, "-q", "-"], variables, stdin=key)
    try:
        async with asyncio.timeout(_SECONDS):
            code = await asyncio.shield(end)
    except TimeoutError:
        raise Unavailable(f"use ssh agent {identifier}: ssh-add did not take {path} within {_SECONDS:.0f} s") from None
    finally:
        process.kill_group(pid)
    if code:
        raise UsageError(
            f"use ssh agent {identifier}: {path} is no private key without a passphrase",
            hint=f"add it to your own agent: ssh-add {path}, then --ssh {identifier}",
        )


def _spawn(argv: list[str], variables: Mapping[str, str], stdin: bytes = b"") -> tuple[int, asyncio.Future[int]]:
    """Start a program that says nothing to us; its id and its end. `stdin` fits into a pipe or is no key."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    source, sink = os.pipe()
    try:
        os.set_blocking(sink, False)
        with suppress(BlockingIOError):
            os.write(sink, stdin)
        os.close(sink)
        environment = {"PATH": "/usr/bin:/bin", **variables}
        pid = process.spawn(argv, environment=environment, descriptors={0: source, 1: null, 2: null})
    finally:
        os.close(source)
        os.close(null)
    return pid, process.watch(pid)
