"""Byte streams to a server: a plain socket written and read without copies (TLS is in `tls.py`).

Law: everything that goes wrong comes out as `ConnectFailed` (nothing was sent yet) or `RegistryUnavailable` (it was).
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Protocol

from trimaran.registry.errors import ConnectFailed, RegistryUnavailable

#: Seconds for one address to answer the connect; the next address is tried after that.
CONNECT_PATIENCE = 15.0
#: Seconds without a byte in either direction before a connection counts as dead.
STALL_PATIENCE = 120.0
RECEIVE = 1 << 20


class ByteStream(Protocol):
    async def send(self, data: bytes | bytearray | memoryview) -> None: ...

    async def receive(self, size: int = RECEIVE) -> bytes:
        """Up to `size` bytes, b"" when the other side has closed."""
        ...

    def usable(self) -> bool:
        """An idle stream: still open, and nothing unasked has come."""
        ...

    def close(self) -> None: ...


def broken(what: str, error: BaseException) -> RegistryUnavailable:
    """What a failed read or write means."""
    words = (getattr(error, "strerror", None) or str(error) or "no bytes for too long").lower()
    if isinstance(error, TimeoutError):
        words = f"no bytes for {STALL_PATIENCE:.0f} s"
    return RegistryUnavailable(f"{what}: connection broke: {words}")


class PlainStream:
    """A non-blocking socket; sends straight from the caller's buffer."""

    __slots__ = ("_loop", "_socket", "_what")

    def __init__(self, connected: socket.socket, what: str) -> None:
        self._socket = connected
        self._what = what
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        try:
            async with asyncio.timeout(STALL_PATIENCE):
                await self._loop.sock_sendall(self._socket, data)
        except OSError as error:
            raise broken(self._what, error) from error

    async def receive(self, size: int = RECEIVE) -> bytes:
        try:
            return self._socket.recv(size)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            raise broken(self._what, error) from error
        try:
            async with asyncio.timeout(STALL_PATIENCE):
                return await self._loop.sock_recv(self._socket, size)
        except OSError as error:
            raise broken(self._what, error) from error

    def usable(self) -> bool:
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # the end, or bytes nobody asked for

    def detach(self) -> socket.socket:
        """The socket itself, for TLS to be spoken over it."""
        return self._socket

    def close(self) -> None:
        self._socket.close()


async def connect(host: str, port: int, what: str) -> PlainStream:
    """A socket to the first address of `host` that answers; ConnectFailed with the last one's error."""
    loop = asyncio.get_running_loop()
    last: OSError | None = None
    for family, address in await _addresses(host, port, what):
        candidate = socket.socket(family, socket.SOCK_STREAM)
        try:
            candidate.setblocking(False)
            candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(CONNECT_PATIENCE):
                await loop.sock_connect(candidate, address)
            return PlainStream(candidate, what)
        except OSError as error:
            candidate.close()
            last = error
        except BaseException:
            candidate.close()
            raise
    words = f"no answer in {CONNECT_PATIENCE:.0f} s" if isinstance(last, TimeoutError) else reason(last)
    raise ConnectFailed(f"{what}: connect to {host}:{port}: {words}")


def reason(error: OSError | None) -> str:
    """The system's words for a failed connect."""
    if error is None:
        return "no address"
    return (os.strerror(error.errno) if error.errno else str(error) or "the connection was closed").lower()


async def _addresses(host: str, port: int, what: str) -> list[tuple[int, tuple[object, ...]]]:
    """(family, address) in the resolver's order; literals and localhost (RFC 6761) ask no resolver and no thread."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return [(family, (host, port))]
    if host == "localhost":
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        words = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConnectFailed(f"{what}: look up {host}: {words}") from error
    return [(entry[0], entry[4]) for entry in found]
