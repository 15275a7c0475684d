"""The client's side of a BuildKit session: gives small folders from memory (fsutil's DiffCopy, reference §8.6)."""

from __future__ import annotations

import concurrent.futures
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc

from goldens.frontend.messages import CLASSES

STAT, REQ, DATA, FIN = range(4)
METHODS = ("/moby.filesync.v1.FileSync/DiffCopy", "/grpc.health.v1.Health/Check")
Packet = CLASSES["Packet"]


class Folders:
    """Serves folders over a socket of its own, through which a session's bytes are led."""

    def __init__(self, folders: Mapping[str, Mapping[str, bytes]]) -> None:
        self._folders = folders
        self._place = tempfile.TemporaryDirectory(prefix="oracle-")
        self.path = str(Path(self._place.name) / "session")
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("moby.filesync.v1.FileSync", {"DiffCopy": self._files()}),
                grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": self._health()}),
            )
        )
        self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()

    def close(self) -> None:
        self._server.stop(0)
        self._place.cleanup()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        return connection

    def _health(self) -> grpc.RpcMethodHandler:
        answer = CLASSES["HealthResponse"](status=1)
        return grpc.unary_unary_rpc_method_handler(
            lambda _request, _context: answer,
            request_deserializer=CLASSES["HealthRequest"].FromString,
            response_serializer=CLASSES["HealthResponse"].SerializeToString,
        )

    def _files(self) -> grpc.RpcMethodHandler:
        return grpc.stream_stream_rpc_method_handler(
            self._send, request_deserializer=Packet.FromString, response_serializer=Packet.SerializeToString
        )

    def _send(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        name = next((value for key, value in context.invocation_metadata() if key == "dir-name"), "")
        files = sorted(self._folders.get(name, {}).items())
        for path, content in files:
            stat = CLASSES["Stat"](path=path, mode=0o644, size=len(content), modTime=10**18)
            yield Packet(type=STAT, stat=stat)
        yield Packet(type=STAT)
        for request in requests:
            if request.type == FIN:
                yield Packet(type=FIN)
                return
            if request.type == REQ:
                content = files[request.ID][1]
                if content:
                    yield Packet(type=DATA, ID=request.ID, data=content)
                yield Packet(type=DATA, ID=request.ID)
