"""Docker's own CLI on Trimaran: what it asks of its plugin, what it builds with it, and buildx as it was afterwards."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from stage.docker_cli import DockerCli

WORK = Path(__file__).parents[2] / ".work"


@pytest.fixture
def docker(docker_cli, trimaran):
    """Docker with buildx among its plugins, without a daemon; and our plugin put over it."""
    environment = docker_cli.with_our_plugin(trimaran)

    def run(*words, exit_code=0, cwd=None):
        done = subprocess.run(
            [docker_cli.program, *words], cwd=cwd or trimaran.home, env=environment, capture_output=True, text=True
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY hello /\n")
    (folder / "hello").write_text("hello\n")
    # modules that must not be taken for ours: docker runs its plugins in the user's folder
    (folder / "trimaran.py").write_text("raise SystemExit('hijacked')\n")
    (folder / "msgspec.py").write_text("raise SystemExit('hijacked')\n")
    return folder


def test_docker_takes_us_for_its_buildx(docker):
    said = docker("info", "--format", "{{json .ClientInfo.Plugins}}")
    (buildx,) = [plugin for plugin in json.loads(said.stdout) if plugin["Name"] == "buildx"]
    assert "Trimaran" in buildx["Vendor"]
    assert not buildx.get("Err")


def test_builds_by_both_names(docker, trimaran, context):
    docker("buildx", "build", "-t", "one", ".", cwd=context)
    docker("build", "-t", "two", "--platform", "linux/amd64,linux/arm64", context)
    shown = trimaran("images").stdout
    assert "one" in shown
    assert "two" in shown


def test_what_is_not_ours_goes_to_buildx(docker, context):
    said = docker("buildx", "bake", "--help")
    assert 'command "bake" is not Trimaran\'s' in said.stderr
    assert "docker buildx bake" in said.stdout
    docker("buildx", "nonsense", exit_code=1)


def test_flag_errors_are_as_docker_expects_them(docker, context):
    assert "unknown flag: --nonsense" in docker("build", "--nonsense", context, exit_code=125).stderr


def test_uninstall_gives_buildx_back(docker, docker_cli, trimaran):
    assert "github.com/docker/buildx" not in docker("buildx", "version").stdout
    trimaran("plugin", "uninstall")
    plugins = trimaran.docker_config / "cli-plugins"
    assert [path.name for path in plugins.iterdir()] == ["docker-buildx"]
    assert (plugins / "docker-buildx").readlink() == docker_cli.buildx
    assert "github.com/docker/buildx" in docker("buildx", "version").stdout


def test_docker_20_10_by_its_alias(trimaran, context):
    """Without a daemon and without the alias it would say so; with it, `docker build` is ours."""
    old = DockerCli.prepare_old(WORK / "docker-20.10")
    environment = {**trimaran.environment, "DOCKER_HOST": f"unix://{trimaran.home}/no-daemon.sock"}
    config = trimaran.docker_config / "config.json"
    config.write_text('{"detachKeys": "ctrl-x"}')

    def build():
        return subprocess.run([old, "build", "-t", "old", context], env=environment, capture_output=True, text=True)

    assert "20.10" in subprocess.run([old, "--version"], capture_output=True, text=True).stdout
    trimaran("plugin", "install")
    assert build().returncode != 0
    trimaran("plugin", "install", "--alias")
    done = build()
    assert done.returncode == 0, done.stderr
    assert "old" in trimaran("images").stdout
    trimaran("plugin", "uninstall")
    assert json.loads(config.read_text()) == {"detachKeys": "ctrl-x"}
    assert list((trimaran.docker_config / "cli-plugins").iterdir()) == []
