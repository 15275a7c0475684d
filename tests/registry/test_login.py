"""Log in and out: tried first, kept in docker's file or helper, never readable by others."""

import asyncio
import json
import os

import pytest

from trimaran.errors import Denied
from trimaran.registry.docker_config import DockerConfig
from trimaran.registry.login import login, logout, registry_host
from trimaran.testing.registry import FaultyRegistry


@pytest.mark.parametrize("token", [False, True])
def test_login_keeps_and_uses_credentials(make_client, tmp_path, token):
    path = tmp_path / "docker" / "config.json"
    before = os.umask(0)
    with FaultyRegistry(users={"user": "secret"}, token=token) as server:
        config = json.dumps({"auths": {"other": {"auth": "eDp5"}}, "psFormat": "kept"})

        async def main():
            async with make_client(config=config) as client:
                kept = await login(client, f"https://{server.host}/v1/", "user", "secret")
                assert (kept.host, kept.place, kept.plain) == (server.host, str(path), True)

        asyncio.run(main())
        os.umask(before)
        document = json.loads(path.read_text())
        assert document["psFormat"] == "kept"
        assert set(document["auths"]) == {"other", server.host}
        assert path.stat().st_mode & 0o777 == 0o600
        found = asyncio.run(DockerConfig(str(path)).credential(server.host))
        assert (found.username, found.password) == ("user", "secret")
        assert asyncio.run(logout(DockerConfig(str(path)), server.host)) is True
        assert set(json.loads(path.read_text())["auths"]) == {"other"}
        assert asyncio.run(logout(DockerConfig(str(path)), server.host)) is False


@pytest.mark.parametrize("token", [False, True])
def test_refused_credentials_are_not_kept(make_client, tmp_path, token):
    with FaultyRegistry(users={"user": "secret"}, token=token) as server:

        async def main():
            async with make_client() as client:
                with pytest.raises(Denied) as caught:
                    await login(client, server.host, "user", "wrong-one")
                assert "wrong-one" not in str(caught.value)

        asyncio.run(main())
    assert not (tmp_path / "docker" / "config.json").exists()


def test_a_helper_keeps_them(make_client, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-test"
    program.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/log\ncat >> {tmp_path}/log\n')
    program.chmod(0o755)
    with FaultyRegistry(users={"user": "secret"}) as server:

        async def main():
            environment = {"PATH": f"{folder}:/usr/bin:/bin"}
            async with make_client(config='{"credsStore":"test"}', environment=environment) as client:
                kept = await login(client, server.host, "user", "secret")
                assert not kept.plain
                assert await logout(client.docker_config, server.host)

        asyncio.run(main())
    log = (tmp_path / "log").read_text()
    assert log.startswith("store\n")
    assert '"Secret":"secret"' in log
    assert f"erase\n{server.host}" in log
    assert "secret" not in (tmp_path / "docker" / "config.json").read_text()


def test_a_symlinked_config_stays_a_symlink(tmp_path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "config.json").symlink_to("real.json")
    config = DockerConfig(str(tmp_path / "config.json"))
    config.write(config.with_entry("h", {"auth": "eDp5"}))
    assert (tmp_path / "config.json").is_symlink()
    assert "auths" in json.loads((tmp_path / "real.json").read_text())


def test_names():
    assert registry_host("") == registry_host("https://index.docker.io/v1/") == "docker.io"
    assert registry_host("https://Ghcr.io/x") == "ghcr.io"
