"""What git may use to log in: a client's secrets and ssh agent, for the one host the build named (reference §4.1)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from trimaran.errors import TrimaranError, UsageError
from trimaran.sources.git_url import Remote
from trimaran.sources.given import Agents, Secrets

AGENT = "default"


async def authorization(remote: Remote, secrets: Secrets, *, header: str, token: str) -> str:
    """The Authorization header for an HTTP(S) remote, from the secrets of these names (`NAME.HOST` goes first).

    One that is for all hosts does not replace what the URL itself says.
    """
    if remote.scheme not in ("http", "https"):
        return ""
    suffixes = (f".{remote.host}",) if remote.has_login else (f".{remote.host}", "")
    for name in [header + suffix for suffix in suffixes] if header else ():
        if (value := await secrets.get(name)) is not None:
            return _line(value, name)
    for name in [token + suffix for suffix in suffixes] if token else ():
        if (value := await secrets.get(name)) is not None:
            import base64

            return "basic " + base64.b64encode(b"x-access-token:" + _line(value, name).encode()).decode()
    return ""


def _line(value: bytes, name: str) -> str:
    text = value.decode("utf-8", "replace").strip()
    if not text.isprintable():
        raise UsageError(f"use secret {name}: it is more than one line of text")
    return text


@asynccontextmanager
async def agent_socket(agents: Agents, folder: str) -> AsyncIterator[str]:
    """The path of a socket that leads to the client's agent while the context lasts; "" when it gives none."""
    if not await agents.check(AGENT):
        yield ""
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await _join(reader, writer, agents)
        finally:
            writers.discard(writer)
            writer.close()

    try:
        path = f"/proc/{os.getpid()}/fd/{handle}/agent"  # socket addresses are short
        server = await asyncio.start_unix_server(serve, path)
        try:
            os.chmod(path, 0o600)
            yield path
        finally:
            server.close()
            for writer in writers:
                writer.close()
    finally:
        with suppress(OSError):
            os.unlink("agent", dir_fd=handle)
        os.close(handle)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, agents: Agents) -> None:
    """Message after message until one side hangs up: every question has one answer."""
    try:
        agent_reader, agent_writer = await agents.connect(AGENT)
    except (TrimaranError, OSError):
        return
    try:
        while True:
            agent_writer.write(await _message(reader))
            await agent_writer.drain()
            writer.write(await _message(agent_reader))
            await writer.drain()
    except (OSError, EOFError, ValueError):
        return
    finally:
        agent_writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    length = int.from_bytes(head)
    if not 0 < length <= 256 << 10:
        raise ValueError(f"an agent message of {length} bytes")
    return head + await reader.readexactly(length)
