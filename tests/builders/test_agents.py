"""Ssh agents of this machine: what `--ssh` may name."""

import asyncio
import socket

import pytest

from trimaran.builders.agents import LocalAgents, listens
from trimaran.errors import NotFound, Unavailable, UsageError
from trimaran.sources.given import AgentSource


@pytest.fixture
def listening(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("agent")
        server.listen()
        yield "agent"


def check(sources, environment, identifier):
    async def work():
        async with LocalAgents(sources, environment) as agents:
            return await agents.check(identifier)

    return asyncio.run(work())


def test_sockets(listening):
    assert check([AgentSource("default")], {"SSH_AUTH_SOCK": listening}, "default")
    assert check([AgentSource("own", (listening,))], {}, "own")
    assert not check([AgentSource("own", (listening,))], {}, "default")


def test_an_agent_that_is_gone_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("agent")
    with pytest.raises(Unavailable, match="connect to ssh agent x"):
        check([AgentSource("x", ("agent",))], {}, "x")


def test_what_cannot_be_an_agent(listening, tmp_path):
    (tmp_path / "key").write_text("key")
    for source, error, words in (
        (AgentSource("default"), UsageError, "SSH_AUTH_SOCK is not set"),
        (AgentSource("x", ("no",)), NotFound, "no such file"),
        (AgentSource("x", (str(tmp_path),)), UsageError, "folder"),
        (AgentSource("x", (listening, "key")), UsageError, "not both"),
        (AgentSource("x", (listening, listening)), UsageError, "not both"),
    ):
        with pytest.raises(error, match=words):
            LocalAgents([source], {})


def test_a_socket_that_has_a_name_need_not_listen_yet(tmp_path):
    path = str(tmp_path / "socket")
    assert not listens(path)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)
        assert not listens(path)
        made.listen()
        assert listens(path)
