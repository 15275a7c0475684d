"""An agent behind a socket of ours: what is passed on, what is answered for it, and what is cut off."""

import asyncio
import os
import socket
import stat
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import Unavailable
from trimaran.graph.ops import SshOptions
from trimaran.steps.forwarding import FAILURE, forwarded

MINE = SshOptions("default", os.getuid(), os.getgid())


class Agent:
    """Answers every question with itself, and keeps what it was asked."""

    def __init__(self, folder):
        self.path = f"{folder}/real"
        self.asked = []

    async def connect(self, identifier):
        return await asyncio.open_unix_connection(self.path)

    async def serve(self, reader, writer):
        while head := await reader.read(4):
            body = await reader.readexactly(int.from_bytes(head))
            self.asked.append(body)
            writer.write(head + body)
        await close(writer)


@asynccontextmanager
async def shown(folder, options=MINE):
    """The agent, and a function that connects to the socket a step would see."""
    agent = Agent(folder)
    fd = os.open(folder, os.O_RDONLY)
    server = await asyncio.start_unix_server(agent.serve, agent.path)
    try:
        async with forwarded(fd, "shown", "default", options, agent):
            yield agent, lambda: asyncio.open_unix_connection(f"{folder}/shown")
    finally:
        server.close()
        await asyncio.sleep(0.01)  # its ends of the connections
        os.close(fd)
        with suppress(FileNotFoundError):  # from Python 3.13 on the server takes its socket away
            os.unlink(agent.path)


async def close(writer):
    writer.close()
    await writer.wait_closed()


def message(body):
    return len(body).to_bytes(4) + body


async def ask(connection, body):
    reader, writer = connection
    writer.write(message(body))
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # socket addresses are short
    return "."


def test_only_listing_and_signing_reach_the_agent(folder):
    async def work():
        async with shown(folder) as (agent, connect):
            connection = await connect()
            for kind in range(256):
                expected = message(bytes([kind, 7])) if kind in (11, 13) else FAILURE
                assert await ask(connection, bytes([kind, 7])) == expected
            assert [body[0] for body in agent.asked] == [11, 13]
            await close(connection[1])

    asyncio.run(work())


def test_several_at_once_and_long_messages(folder):
    async def work():
        async with shown(folder) as (_, connect):
            connections = [await connect() for _ in range(5)]
            body = b"\x0d" + b"x" * 200_000
            for connection in (*connections, *connections):
                assert await ask(connection, body) == message(body)
            for _, writer in connections:
                await close(writer)

    asyncio.run(work())


@given(st.binary(max_size=40))
def test_nonsense_is_hung_up_on_and_reaches_nobody(tmp_path_factory, data):
    bad = b"\xff\xff\xff\xff" + data  # longer than any message may be

    async def work():
        folder = os.path.relpath(tmp_path_factory.getbasetemp())
        async with shown(folder) as (agent, connect):
            reader, writer = await connect()
            writer.write(bad)
            assert await reader.read() == b""
            await close(writer)
            assert agent.asked == []

    asyncio.run(work())


def test_an_agent_that_went_away_is_a_closed_connection(folder):
    class Gone:
        async def connect(self, identifier):
            raise Unavailable("gone")

    async def work():
        fd = os.open(folder, os.O_RDONLY)
        async with forwarded(fd, "shown", "default", MINE, Gone()):
            reader, writer = await asyncio.open_unix_connection(f"{folder}/shown")
            assert await reader.read() == b""
            await close(writer)
        os.close(fd)

    asyncio.run(work())


def test_the_socket_has_its_owner_and_mode_and_goes_with_the_step(folder):
    async def work():
        async with shown(folder, SshOptions("default", os.getuid(), os.getgid(), mode=0o640)) as (_, connect):
            facts = os.stat(f"{folder}/shown")
            assert stat.S_ISSOCK(facts.st_mode)
            assert stat.S_IMODE(facts.st_mode) == 0o640
            reader, writer = connection = await connect()
            assert await ask(connection, b"\x0b") == message(b"\x0b")
        assert await reader.read() == b"", "who was connected is cut off"
        await close(writer)
        assert not os.path.exists(f"{folder}/shown")

    asyncio.run(work())


def test_a_real_socket_module_client_works_too(folder):
    async def work():
        async with shown(folder) as (_, _connect):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, f"{folder}/shown")
            await loop.sock_sendall(client, message(b"\x0b"))
            assert await loop.sock_recv(client, 100) == message(b"\x0b")
            client.close()

    asyncio.run(work())
