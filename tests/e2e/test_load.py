"""`--load` and `docker build`: images into a real Docker daemon, of either image store."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from stage import docker_daemon

WORK = Path(__file__).parents[2] / ".work"


@pytest.fixture(scope="module", params=[True, False], ids=["containerd-store", "classic-store"])
def daemon(request):
    home = Path(tempfile.mkdtemp(prefix="trimaran-dockerd-", dir="/var/tmp"))
    with docker_daemon.serving(WORK / "dockerd", home, containerd_store=request.param) as running:
        running.containerd_store = request.param
        yield running
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def context(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM alpine\nCOPY hello /hello\nRUN echo more >> /hello\nCMD cat /hello\n")
    (tmp_path / "hello").write_text("hello\n")
    return tmp_path


def build(trimaran, daemon, context, *words):
    return trimaran("build", *words, ".", cwd=context, env={"DOCKER_HOST": daemon.host})


def test_loaded_image_is_dockers(trimaran, bases, daemon, context):
    build(trimaran, daemon, context, "--load", "-t", "loaded:1")
    found = json.loads(daemon.docker("image", "inspect", "loaded:1"))[0]
    assert found["Architecture"] == "amd64"
    assert found["Config"]["Cmd"] == ["/bin/sh", "-c", "cat /hello"]
    name = daemon.docker("create", "loaded:1").strip()
    target = context / "out"
    daemon.docker("cp", f"{name}:/hello", str(target))
    assert target.read_text() == "hello\nmore\n"
    daemon.docker("rm", name)


def test_a_second_load_sends_nothing(trimaran, bases, daemon, context):
    build(trimaran, daemon, context, "--load", "-t", "again:1")
    said = build(trimaran, daemon, context, "--load", "-t", "again:1").stderr
    assert "already loaded" in said
    assert "sending tarball" not in said


def test_several_platforms(trimaran, bases, daemon, context):
    (context / "Dockerfile").write_text("FROM alpine\nCOPY hello /hello\n")
    said = build(trimaran, daemon, context, "--load", "-t", "multi:1", "--platform", "linux/amd64,linux/arm64").stderr
    found = json.loads(daemon.docker("image", "inspect", "multi:1"))[0]
    assert found["Architecture"] == "amd64"
    if daemon.containerd_store:
        other = json.loads(daemon.docker("image", "inspect", "--platform", "linux/arm64", "multi:1"))[0]
        assert other["Architecture"] == "arm64"
    else:
        assert "only linux/amd64 was loaded" in said


def test_docker_build_loads_by_itself(trimaran, bases, daemon, context):
    """`docker build` names the builder "default": without another output the result is docker's."""
    environment = {"DOCKER_HOST": daemon.host, "BUILDX_BUILDER": "default"}
    trimaran("build", "-t", "own:1", ".", cwd=context, env=environment)
    assert "own" in daemon.docker("images")
    trimaran("build", "-t", "elsewhere:1", "-o", "type=cacheonly", ".", cwd=context, env=environment)
    assert "elsewhere" not in daemon.docker("images")


def test_no_daemon_is_said_plainly(trimaran, bases, context):
    done = trimaran("build", "--load", ".", cwd=context, env={"DOCKER_HOST": "unix:///nowhere.sock"}, exit_code=1)
    assert "no Docker daemon is reachable" in done.stderr
