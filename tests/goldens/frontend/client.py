"""A client of BuildKit's gateway: solves one frontend request of a Docker daemon and returns what it answered."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import grpc

from goldens.frontend.messages import CLASSES
from goldens.frontend.session import METHODS, Folders

CONTROL, GATEWAY = "/moby.buildkit.v1.Control/", "/moby.buildkit.v1.frontend.LLBBridge/"


class Answer(NamedTuple):
    definitions: dict[str, bytes]  # by platform, "" when there is one
    metadata: dict[str, bytes]
    error: str = ""
    lines: tuple[tuple[int, int], ...] = ()  # that the error names


class Client:
    def __init__(self) -> None:
        self._path = os.path.join(mkdtemp(prefix="oracle-"), "grpc")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        # an error holds the whole Dockerfile
        limits = [("grpc.max_metadata_size", 1 << 24), ("grpc.absolute_max_metadata_size", 1 << 24)]
        self._channel = grpc.insecure_channel(f"unix:{self._path}", options=limits)

    def close(self) -> None:
        self._channel.close()
        self._listener.close()
        Path(self._path).unlink()
        Path(self._path).parent.rmdir()

    def solve(self, options: Mapping[str, str], folders: Mapping[str, Mapping[str, bytes]]) -> Answer:
        """The answer of dockerfile.v0; an error of the file is an answer too."""
        build, session = secrets.token_hex(12), secrets.token_hex(12)
        served = Folders(folders)
        call = self._open_session(session, served)
        request = CLASSES["SolveRequest"](Ref=build, Session=session, Internal=True)
        whole = self._unary(CONTROL + "Solve", "SolveRequest", "SolveResponse").future(request)
        mine = (("buildkit-controlapi-buildid", build),)
        try:
            asked = CLASSES["FrontendRequest"](
                Frontend="dockerfile.v0", FrontendOpt=dict(options), allowResultReturn=True, allowResultArrayRef=True
            )
            try:
                result = self._unary(GATEWAY + "Solve", "FrontendRequest", "FrontendResponse")(
                    asked, metadata=mine, timeout=60
                ).result
            except grpc.RpcError as error:
                return _error(error)
            definitions = {name: ref.__getattribute__("def") for name, ref in result.refs.refs.items()}
            if result.HasField("ref"):
                definitions[""] = result.ref.__getattribute__("def")
            return Answer(definitions, dict(result.metadata))
        finally:
            back = CLASSES["ReturnRequest"](result=CLASSES["Result"]())
            try:
                self._unary(GATEWAY + "Return", "ReturnRequest", "Empty")(back, metadata=mine, timeout=10)
                whole.result(timeout=10)
            except grpc.RpcError:
                whole.cancel()
            call.cancel()
            served.close()

    def _unary(self, method: str, request: str, response: str) -> grpc.UnaryUnaryMultiCallable:
        return self._channel.unary_unary(
            method,
            request_serializer=CLASSES[request].SerializeToString,
            response_deserializer=CLASSES[response].FromString,
        )

    def _open_session(self, session: str, served: Folders) -> Any:
        connection = served.connect()

        def ours() -> Iterator[Any]:
            while data := connection.recv(1 << 16):
                yield CLASSES["BytesMessage"](data=data)

        metadata = [("x-docker-expose-session-uuid", session), ("x-docker-expose-session-sharedkey", "")]
        metadata += [("x-docker-expose-session-grpc-method", method) for method in METHODS]
        call = self._channel.stream_stream(
            CONTROL + "Session",
            request_serializer=CLASSES["BytesMessage"].SerializeToString,
            response_deserializer=CLASSES["BytesMessage"].FromString,
        )(ours(), metadata=metadata)

        def theirs() -> None:
            try:
                for message in call:
                    connection.sendall(message.data)
            except (grpc.RpcError, OSError):
                pass
            connection.close()

        threading.Thread(target=theirs, daemon=True).start()
        return call

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.socket(socket.AF_UNIX)
            theirs.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))
            theirs.sendall(b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                head += theirs.recv(1)
            for source, sink in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def _error(error: Any) -> Answer:
    ranges: list[tuple[int, int]] = []
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            for detail in CLASSES["Status"].FromString(value).details:
                if detail.type_url.endswith("errdefs.Source+json"):
                    for place in json.loads(detail.value).get("ranges") or ():
                        start = place.get("start", {}).get("line", 0)
                        ranges.append((start, place.get("end", {}).get("line", start)))
    return Answer({}, {}, error.details(), tuple(ranges))
