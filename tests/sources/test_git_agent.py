"""What git logs in with: secrets as a header, an ssh agent as a socket."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import time

import pytest

from trimaran.builders.agents import listens
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
    while not listens(path):
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


def started(git):
    """What git is started with: its words, its environment, its settings by its own account, and what it inherits."""
    with git.private() as (variables, descriptors):
        shown = subprocess.run(
            ["git", "config", "--list"], env=variables, pass_fds=descriptors, capture_output=True, text=True, check=True
        ).stdout
        held = [os.pread(fd, 4096, 0).decode() for fd in descriptors]
        return git.command(["fetch"]), variables, dict(line.split("=", 1) for line in shown.splitlines()), held


def test_a_header_is_for_one_host_and_stops_redirects():
    """T27: git would take it along. It is in no command line and no environment."""
    words, variables, settings, _ = started(Git(folder="/x", remote=REMOTE, authorization='basic "secret"\\'))
    assert settings["http.https://host:8443/.extraheader"] == 'Authorization: basic "secret"\\'
    assert settings["http.followredirects"] == "false"
    assert "secret" not in " ".join((*words, *variables.values()))


def test_a_login_of_the_url_is_for_one_host():
    """Git is given the URL without it, and asks for it when that host wants to know."""
    remote = parse_remote("https://me:s%2Fcret@host:8443/a%20b.git")
    words, variables, settings, held = started(Git(folder="/x", remote=remote))
    assert settings["remote.origin.url"] == "https://host:8443/a%20b.git"
    assert settings["http.followredirects"] == "initial"
    assert held == ["username=me\npassword=s/cret\n"]
    assert [name for name in settings if name.startswith("credential.")] == [
        "credential.helper",
        "credential.https://host:8443.helper",
    ]
    for secret in ("cret", "me"):
        assert secret not in " ".join((*words, variables["GIT_CONFIG_GLOBAL"], *settings.values())).replace("name", "")
    assert started(Git(folder="/x", remote=parse_remote("https://token@host/x.git")))[3] == [
        "username=token\npassword=\n"
    ]
    with pytest.raises(UsageError, match="more than one line"):
        started(Git(folder="/x", remote=parse_remote("https://me:a%0ahost=evil@host/x.git")))
    assert started(Git(folder="/x", remote=parse_remote("ssh://git@host/x.git")))[3] == []


def test_secrets_for_all_hosts_do_not_replace_a_login_of_the_url():
    remote = parse_remote("https://me:mine@host:8443/x.git")
    assert given(remote, GIT_AUTH_TOKEN=b"t", GIT_AUTH_HEADER=b"bearer h") == ""
    assert given(remote, **{"GIT_AUTH_HEADER.host:8443": b"one"}) == "one"


def test_the_environment_is_built_from_empty():
    inherited = {"PATH": "/bin", "GIT_DIR": "/evil", "GIT_SSH": "evil", "LD_PRELOAD": "evil", "HOME": "/home/me"}
    variables = Git(folder="/x", inherited=inherited).local_environment()
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
