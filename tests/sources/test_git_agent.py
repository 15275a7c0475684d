"""What git logs in with: secrets as a header, an ssh agent as a socket."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import time

import pytest

from trimaran.errors import UsageError
from trimaran.sources.git_agent import agent_socket, authorization
from trimaran.sources.git_command import Git
from trimaran.sources.git_url import parse_remote
from trimaran.sources.given import Nothing

REMOTE = parse_remote("https://host:8443/x.git")


class Secrets:
    def __init__(self, **secrets):
        self.secrets = secrets

    async def get(self, identifier):
        return self.secrets.get(identifier)


class Agent:
    """A real ssh-agent."""

    def __init__(self, path):
        self.path = path

    async def check(self, identifier):
        return identifier == "default"

    async def connect(self, identifier):
        return await asyncio.open_unix_connection(self.path)


@pytest.fixture
def agent(tmp_path):
    path = str(tmp_path / "real")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not os.path.exists(path):
        time.sleep(0.01)
    yield Agent(path)
    process.terminate()
    process.wait()


def given(remote=REMOTE, **secrets):
    names = {name.replace("__", "."): value for name, value in secrets.items()}
    asked = authorization(remote, Secrets(**names), header="GIT_AUTH_HEADER", token="GIT_AUTH_TOKEN")
    return asyncio.run(asked)


def test_tokens_and_headers():
    assert given() == ""
    assert given(GIT_AUTH_TOKEN=b"t\n") == "basic " + base64.b64encode(b"x-access-token:t").decode()
    assert given(GIT_AUTH_TOKEN=b"t", GIT_AUTH_HEADER=b"bearer h") == "bearer h"
    assert given(**{"GIT_AUTH_HEADER": b"all", "GIT_AUTH_HEADER.host:8443": b"one"}) == "one"
    assert given(parse_remote("git@host:x"), GIT_AUTH_TOKEN=b"t") == "", "ssh knows no headers"
    with pytest.raises(UsageError, match="more than one line"):
        given(GIT_AUTH_HEADER=b"a\nb: c")


def test_a_header_is_for_one_host_and_stops_redirects():
    """T27: git would take it along."""
    variables = Git(folder="/x", remote=REMOTE, authorization="basic secret").environment()
    settings = {
        variables[f"GIT_CONFIG_KEY_{n}"]: variables[f"GIT_CONFIG_VALUE_{n}"]
        for n in range(int(variables["GIT_CONFIG_COUNT"]))
    }
    assert settings["http.https://host:8443/.extraHeader"] == "Authorization: basic secret"
    assert settings["http.followRedirects"] == "false"
    assert not any("secret" in word for word in Git(folder="/x", remote=REMOTE, authorization="secret").command(["x"]))


def test_the_environment_is_built_from_empty():
    inherited = {"PATH": "/bin", "GIT_DIR": "/evil", "GIT_SSH": "evil", "LD_PRELOAD": "evil", "HOME": "/home/me"}
    variables = Git(folder="/x", inherited=inherited).environment()
    assert "evil" not in " ".join(variables.values())
    assert "LD_PRELOAD" not in variables
    assert variables["HOME"] == "/nonexistent"
    assert variables["GIT_ALLOW_PROTOCOL"] == "http:https:ssh:git"
    assert "SSH_AUTH_SOCK" not in variables
    assert "/home/me/.ssh/known_hosts" in variables["GIT_SSH_COMMAND"]
    assert "StrictHostKeyChecking=yes" in variables["GIT_SSH_COMMAND"]


def test_a_real_agent_through_our_socket(agent, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    subprocess.run(["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": agent.path}, check=True)
    folder = tmp_path / ("long-" * 20)
    folder.mkdir()

    async def listed():
        async with agent_socket(agent, str(folder)) as path:
            process = await asyncio.create_subprocess_exec(
                "ssh-add", "-l", env={**os.environ, "SSH_AUTH_SOCK": path}, stdout=subprocess.PIPE
            )
            said, _ = await process.communicate()
            assert (os.stat(path).st_mode & 0o777) == 0o600
        return said.decode(), path

    said, path = asyncio.run(listed())
    assert "ED25519" in said
    assert not os.listdir(folder)


def test_no_agent(tmp_path):
    async def asked():
        async with agent_socket(Nothing(), str(tmp_path)) as path:
            return path

    assert asyncio.run(asked()) == ""
