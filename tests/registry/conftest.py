"""A real docker-registry process on a free loopback port, and the run of coroutines."""

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from trimaran.registry.client import Registry
from trimaran.registry.docker_config import DockerConfig
from trimaran.registry.hosts import DockerFiles
from trimaran.settings import Settings


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RealRegistry:
    """One docker-registry process over a folder."""

    def __init__(self, folder, extra=""):
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.folder = folder
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
            f'http: {{addr: "{self.host}", secret: fixed{extra}}}\n'
        )
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL
        )
        self._wait()

    def _wait(self):
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/", timeout=1).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


@pytest.fixture(scope="session")
def real_registry(tmp_path_factory):
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    registry = RealRegistry(tmp_path_factory.mktemp("docker-registry"))
    yield registry
    registry.stop()


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
