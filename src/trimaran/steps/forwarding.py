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

    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await _pass_on(reader, writer, identifier, agents)
        finally:
            writers.discard(writer)
            writer.close()

    path = f"/proc/self/fd/{folder}/{name}"  # socket addresses are short
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)
        give(path, options.uid, options.gid, options.mode or 0o600, f"ssh agent {identifier}")
        server = await asyncio.start_unix_server(serve, sock=listening)
    except BaseException:
        listening.close()
        raise
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.close()
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, identifier: str, agents: Agents) -> None:
    """Question after question until the step hangs up; it is hung up on when the agent is gone."""
    try:
        agent_reader, agent_writer = await agents.connect(identifier)
    except (TrimaranError, OSError):
        return
    try:
        while True:
            request = await _message(reader)
            if request[4] not in _ALLOWED:
                writer.write(FAILURE)
            else:
                agent_writer.write(request)
                await agent_writer.drain()
                writer.write(await _message(agent_reader))
            await writer.drain()
    except (OSError, EOFError, ValueError):
        return
    finally:
        agent_writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One whole message, its length before it. EOFError at the end, ValueError for one that is none."""
    head = await reader.readexactly(4)
    length = int.from_bytes(head)
    if not 0 < length <= _LONGEST:
        raise ValueError(f"an agent message of {length} bytes")
    return head + await reader.readexactly(length)
