"""Which of several sources answers for a host: real files, one question each."""

import asyncio
import base64
import json
import os
from pathlib import Path

import pytest

from trimaran.errors import UsageError
from trimaran.registry import docker_config
from trimaran.registry.docker_config import DockerConfig


def config(**users):
    """Docker's form: host → user; the password is the user's name backwards."""
    auths = {
        host.replace("_", "."): {"auth": base64.b64encode(f"{user}:{user[::-1]}".encode()).decode()}
        for host, user in users.items()
    }
    return json.dumps({"auths": auths})


@pytest.fixture
def place(tmp_path):
    """Every source has a user of its own for all.test, and each one alone for a host of its name."""
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    files = {
        "docker": tmp_path / ".docker/config.json",
        "named": tmp_path / "named.json",
        "run": tmp_path / "run/containers/auth.json",
        "home": tmp_path / ".config/containers/auth.json",
    }
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(config(all_test=name, **{f"{name}_test": name}))
    environment["REGISTRY_AUTH_FILE"] = str(files["named"])
    environment["DOCKER_AUTH_CONFIG"] = config(all_test="text", text_test="text")
    return environment, files


def ask(environment, host):
    return asyncio.run(DockerConfig.of_all(environment).credential(host))


@pytest.mark.parametrize("source", ["text", "named", "docker", "run", "home"])
def test_each_source_answers_for_its_host(place, source):
    found = ask(place[0], f"{source}.test")
    assert (found.username, found.password) == (source, source[::-1])


def test_the_first_one_wins(place):
    environment, files = place
    for source in ("text", "named", "docker", "run", "home"):
        assert ask(environment, "all.test").username == source
        environment.pop({"text": "DOCKER_AUTH_CONFIG", "named": "REGISTRY_AUTH_FILE"}.get(source, ""), None)
        if source in files:
            files[source].unlink()
    assert ask(environment, "all.test") is None


def test_no_other_host_is_answered_for(place):
    assert ask(place[0], "other.test") is None
    assert ask(place[0], "text.test.evil") is None


@pytest.mark.parametrize("text", ["{", "[]", '"aGk6c2VjcmV0"', '{"auths": {"all.test": {"auth": "aGk6c2VjcmV0"'])
def test_a_broken_variable_is_named_and_not_shown(place, text):
    environment = {**place[0], "DOCKER_AUTH_CONFIG": text}
    with pytest.raises(UsageError) as caught:
        ask(environment, "all.test")
    assert "$DOCKER_AUTH_CONFIG" in caught.value.message
    assert "aGk6" not in f"{caught.value.message} {caught.value.hint}"


def test_a_file_that_is_not_there_is_none(place):
    environment = {**place[0], "REGISTRY_AUTH_FILE": "/nowhere/auth.json"}
    assert ask(environment, "docker.test").username == "docker"


def test_a_helper_that_hangs_is_ended_with_all_it_started(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-slow"
    helper.write_text("#!/bin/sh\nsleep 654 & sleep 654\n")
    helper.chmod(0o755)
    monkeypatch.setattr(docker_config, "_HELPER_SECONDS", 0.5)
    (tmp_path / "config.json").write_text('{"credsStore": "slow"}')
    config = docker_config.DockerConfig(str(tmp_path / "config.json"), {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    with pytest.raises(docker_config.HelperFailed, match="docker-credential-slow get: no answer in") as caught:
        asyncio.run(config.credential("registry.test"))
    assert "unlock" in caught.value.hint
    running = [Path(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdecimal()]
    assert not [path for path in running if path.exists() and b"sleep\x00654" in path.read_bytes()]
