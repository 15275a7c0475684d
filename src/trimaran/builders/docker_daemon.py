"""A Docker daemon as a place to load images into: the four calls of its HTTP API that this takes, on its Unix socket.

Where it is: $DOCKER_HOST, else the current context of docker's config, else /var/run/docker.sock.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import h11
import msgspec

from trimaran import aio
from trimaran.errors import TrimaranError, Unavailable

_DEFAULT = "/var/run/docker.sock"
_PIECE = 1 << 18
_ANSWER_LIMIT = 8 << 20
_PATIENCE = 10.0


class Docker:
    """`exporters.load.DockerDaemon` over a socket. Each call is a connection of its own."""

    name = "docker"

    def __init__(self, socket: str) -> None:
        self._socket = socket

    async def reachable(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                status, _ = await self._call("GET", "/_ping")
        except (TrimaranError, TimeoutError):
            return False
        return status == 200

    async def holds_indexes(self) -> bool:
        status, body = await self._call("GET", "/info")
        if status != 200:
            return False
        rows = msgspec.json.decode(body).get("DriverStatus") or []
        return any("io.containerd.snapshotter" in str(value) for row in rows for value in row)

    async def image_id(self, name: str) -> str:
        status, body = await self._call("GET", f"/images/{quote(name, safe='/:@')}/json")
        return str(msgspec.json.decode(body).get("Id", "")) if status == 200 else ""

    async def load(self, archive: int) -> None:
        status, body = await self._call("POST", "/images/load?quiet=1", archive)
        for line in body.splitlines():
            problem = _problem(line)
            if problem:
                raise Unavailable(f"load the image into docker: {problem}")
        if status != 200:
            raise Unavailable(f"load the image into docker: {status}: {body[:500].decode(errors='replace')}")

    async def _call(self, method: str, path: str, archive: int | None = None) -> tuple[int, bytes]:
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
        except OSError as error:
            words = (error.strerror or str(error)).lower()
            raise Unavailable(
                f"reach docker at {self._socket}: {words}", hint="is the daemon running, and may you use its socket?"
            ) from error
        try:
            return await _exchange(reader, writer, method, path, archive)
        except (ConnectionError, h11.RemoteProtocolError) as error:
            raise Unavailable(f"talk to docker at {self._socket}: {error}") from error
        finally:
            writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, archive: int | None
) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "docker"), ("Connection", "close")]
    if archive is not None:
        headers += [("Content-Type", "application/x-tar"), ("Transfer-Encoding", "chunked")]
    writer.write(connection.send(h11.Request(method=method, target=path, headers=headers)) or b"")
    if archive is not None:
        await _send_archive(writer, connection, archive)
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    status = 0
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(1 << 16))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _ANSWER_LIMIT:
                raise Unavailable("talk to docker: its answer is too long")
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            return status, bytes(body)


async def _send_archive(writer: asyncio.StreamWriter, connection: h11.Connection, archive: int) -> None:
    while data := await aio.in_thread(_read, archive):
        writer.write(connection.send(h11.Data(data=data)) or b"")
        await writer.drain()


def _read(cancel: aio.Cancel, fd: int) -> bytes:
    cancel.check()
    return os.read(fd, _PIECE)


def _problem(line: bytes) -> str:
    try:
        message: Any = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return ""
    return str(message.get("error") or "") if isinstance(message, dict) else ""


def host_of(environment: Mapping[str, str]) -> str:
    """Where docker's own programs look for the daemon, as they write it."""
    return environment.get("DOCKER_HOST") or _context_host(environment) or f"unix://{_DEFAULT}"


def socket_of(environment: Mapping[str, str]) -> str:
    """The path of the daemon's socket; "" when it is not one on this machine."""
    host = host_of(environment)
    return host.removeprefix("unix://") if host.startswith("unix://") else ""


def _context_host(environment: Mapping[str, str]) -> str:
    """The endpoint of docker's current context; "" for the default one."""
    from hashlib import sha256

    folder = environment.get("DOCKER_CONFIG") or os.path.join(environment.get("HOME", "/"), ".docker")
    try:
        name = environment.get("DOCKER_CONTEXT") or _json(os.path.join(folder, "config.json")).get("currentContext")
        if not isinstance(name, str) or name in ("", "default"):
            return ""
        meta = _json(os.path.join(folder, "contexts", "meta", sha256(name.encode()).hexdigest(), "meta.json"))
        return str(meta["Endpoints"]["docker"]["Host"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return ""


def _json(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        found = msgspec.json.decode(file.read(1 << 20))
    return found if isinstance(found, dict) else {}


async def find(environment: Mapping[str, str]) -> Docker | None:
    """The daemon this user reaches, if any."""
    path = socket_of(environment)
    try:
        if not path or not stat.S_ISSOCK(os.stat(path).st_mode):
            return None
    except OSError:
        return None
    daemon = Docker(path)
    return daemon if await daemon.reachable() else None
