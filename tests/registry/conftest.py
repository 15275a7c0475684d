"""A real docker-registry process on a free loopback port, and the run of coroutines."""

import shutil

import pytest

from bases.registry import serve
from trimaran.registry.client import Registry
from trimaran.registry.docker_config import DockerConfig
from trimaran.registry.hosts import DockerFiles
from trimaran.settings import Settings


@pytest.fixture(scope="session")
def real_registry(tmp_path_factory):
    """Its address (host:port)."""
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    with serve(tmp_path_factory.mktemp("docker-registry")) as address:
        yield address


@pytest.fixture
def make_client(tmp_path):
    """A client that reads no configuration of this machine."""

    def make(settings=None, environment=None, config=None, docker_files=None):
        path = tmp_path / "docker" / "config.json"
        if config is not None:
            path.parent.mkdir(exist_ok=True)
            path.write_text(config)
        environment = environment or {"PATH": ""}
        return Registry(
            settings or Settings(),
            DockerConfig(str(path), environment),
            environment=environment,
            docker_files=docker_files or DockerFiles(),
        )

    return make
