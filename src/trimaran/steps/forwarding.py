"""An ssh agent shown to a step: a socket of ours that passes on what does not change the agent.

Source: draft-miller-ssh-agent: messages of a 4-byte length and a type. What BuildKit lets through is let through:
listing the keys and signing with one. Everything else is answered with a failure.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from trimaran.errors import TrimaranError
from trimaran.graph.ops import SshOptions
from trimaran.sources.given import Agents

REQUEST_IDENTITIES = 11
SIGN_REQUEST = 13
FAILURE = b"\0\0\0\1\5"
_ALLOWED = frozenset({REQUEST_IDENTITIES, SIGN_REQUEST})
_LONGEST = 256 << 10


@asynccontextmanager
async def forwarded(
    folder: int, name: str, identifier: str, options: SshOptions, agents: Agents
) -> AsyncIterator[None]:
    """A socket `name` in the folder `folder` (a descriptor), which leads to the agent while the context lasts."""
    from trimaran.steps.staging import give

    serving = _Serving(identifier, agents)
    path = f"/proc/self/fd/{folder}/{name}"  # socket addresses are short
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)
        give(path, options.uid, options.gid, options.mode, f"ssh agent {identifier}")
        server = await asyncio.start_unix_server(serving, sock=listening)
    except BaseException:
        listening.close()
        raise
    try:
        yield
    finally:
        server.close()
        await serving.hang_up()
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)


class _Serving:
    """Serves whoever connects; `hang_up` ends all that are served."""

    def __init__(self, identifier: str, agents: Agents) -> None:
        self._identifier = identifier
        self._agents = agents
        self._open: set[asyncio.StreamWriter] = set()
        self._running = 0
        self._idle = asyncio.Event()
        self._is_over = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._running += 1
        self._idle.clear()
        try:
            async with self._closing(writer):
                if not self._is_over:
                    await self._serve(reader, writer)
        except (TrimaranError, OSError, EOFError, ValueError):
            return  # the agent is gone, or what was said is no message: hung up
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Question after question until somebody hangs up."""
        agent_reader, agent_writer = await self._agents.connect(self._identifier)
        async with self._closing(agent_writer):
            while True:
                request = await _message(reader)
                if request[4] in _ALLOWED:
                    agent_writer.write(request)
                    await agent_writer.drain()
                    writer.write(await _message(agent_reader))
                else:
                    writer.write(FAILURE)
                await writer.drain()

    @asynccontextmanager
    async def _closing(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._open.add(writer)
        try:
            yield
        finally:
            self._open.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def hang_up(self) -> None:
        self._is_over = True
        while self._running:
            for writer in list(self._open):
                writer.close()
            await self._idle.wait()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One whole message, its length before it. EOFError at the end, ValueError for one that is none."""
    head = await reader.readexactly(4)
    length = int.from_bytes(head)
    if not 0 < length <= _LONGEST:
        raise ValueError(f"an agent message of {length} bytes")
    return head + await reader.readexactly(length)
