"""What is said to a Docker daemon, and what its answers mean: a small one of our own, on a real socket."""

from __future__ import annotations

import asyncio
import json
import os
from hashlib import sha256

import pytest

from trimaran.builders import docker_daemon
from trimaran.builders.docker_daemon import Docker
from trimaran.errors import Unavailable


class Daemon:
    """Answers by path; keeps what was loaded."""

    def __init__(self, answers):
        self.answers = answers
        self.loaded = b""

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        if method == "POST":
            while size := int((await reader.readline()).strip() or b"0", 16):
                self.loaded += await reader.readexactly(size)
                await reader.readline()
        status, body = self.answers.get(path.partition("?")[0], (404, b"{}"))
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()


def talk(tmp_path, answers, work):
    async def run():
        daemon = Daemon(answers)
        server = await asyncio.start_unix_server(daemon.serve, str(tmp_path / "docker.sock"))
        async with server:
            return daemon, await work(Docker(str(tmp_path / "docker.sock")))

    return asyncio.run(run())


def test_an_archive_is_streamed_whole(tmp_path):
    data = os.urandom(3_000_000)

    async def work(docker):
        read, write = os.pipe()

        def feed():
            with os.fdopen(write, "wb") as file:
                file.write(data)

        feeding = asyncio.get_running_loop().run_in_executor(None, feed)
        await docker.load(read)
        await feeding
        os.close(read)

    daemon, _ = talk(tmp_path, {"/images/load": (200, b'{"stream":"Loaded"}')}, work)
    assert sha256(daemon.loaded).digest() == sha256(data).digest()


def test_an_error_in_a_good_answer_is_an_error(tmp_path):
    async def work(docker):
        with open(os.devnull, "rb") as file, pytest.raises(Unavailable, match="no space left"):
            await docker.load(file.fileno())

    talk(tmp_path, {"/images/load": (200, b'{"stream":"x"}\n{"error":"no space left"}\n')}, work)


@pytest.mark.parametrize(
    ("info", "holds"),
    [
        ({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}, True),
        ({"DriverStatus": [["Backing Filesystem", "extfs"]]}, False),
        ({"DriverStatus": None}, False),
    ],
)
def test_whether_indexes_are_held(tmp_path, info, holds):
    _, said = talk(tmp_path, {"/info": (200, json.dumps(info).encode())}, lambda docker: docker.holds_indexes())
    assert said is holds


def test_image_id_and_none(tmp_path):
    answers = {"/images/docker.io/library/app:1/json": (200, b'{"Id":"sha256:1"}')}
    _, said = talk(tmp_path, answers, lambda docker: docker.image_id("docker.io/library/app:1"))
    assert said == "sha256:1"
    _, said = talk(tmp_path, answers, lambda docker: docker.image_id("docker.io/library/other:1"))
    assert said == ""


def test_nobody_there(tmp_path):
    assert asyncio.run(docker_daemon.find({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})) is None
    with pytest.raises(Unavailable, match="reach docker at"):
        asyncio.run(Docker(str(tmp_path / "none.sock")).holds_indexes())


def test_where_it_is(tmp_path):
    folder = tmp_path / "contexts" / "meta" / sha256(b"mine").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text('{"Endpoints":{"docker":{"Host":"unix:///run/mine.sock"}}}')
    (tmp_path / "config.json").write_text('{"currentContext":"mine"}')
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    assert docker_daemon.socket_of(environment) == "/run/mine.sock"
    assert docker_daemon.socket_of({**environment, "DOCKER_CONTEXT": "default"}) == "/var/run/docker.sock"
    assert docker_daemon.socket_of({**environment, "DOCKER_HOST": "unix:///run/x.sock"}) == "/run/x.sock"
    assert docker_daemon.socket_of({"DOCKER_HOST": "tcp://10.0.0.1:2375"}) == ""
