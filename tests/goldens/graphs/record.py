"""Build `cases.py` on real BuildKit (of dockerd, over its socket) and write down the files that came out.

    pip install grpcio; DOCKER_HOST=unix:///… PYTHONPATH=src:tests python -m goldens.graphs.record 127.0.0.1:5000/alpine

Needs a registry that dockerd may push to without TLS; the image there has to be the `alpine` of tests/bases. Files that
are as in that image are left out. files.json was made by BuildKit v0.25 (Docker 28.5.2).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import grpc  # type: ignore[import-not-found, import-untyped, unused-ignore]

from goldens.graphs.cases import cases
from goldens.graphs.files import changed, of_tar
from trimaran import graph

HERE = Path(__file__).parent
UPGRADE = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def field(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes."""
    length, size = b"", len(data)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def relay(path: str, docker: str) -> None:
    """A socket at `path` that speaks gRPC right away; dockerd wants to be asked for it first."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(1 << 16):
            sink.sendall(data)

    def serve() -> None:
        while True:
            client, _ = server.accept()
            daemon = socket.socket(socket.AF_UNIX)
            daemon.connect(docker)
            daemon.sendall(UPGRADE)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += daemon.recv(1)
            for pair in ((client, daemon), (daemon, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def built(solve: grpc.UnaryUnaryMultiCallable, definition: bytes, name: str) -> bytes:
    """The result's files as one archive."""
    attrs = {"name": name, "push": "true", "registry.insecure": "true"}
    pairs = b"".join(field(2, field(1, key.encode()) + field(2, value.encode())) for key, value in attrs.items())
    solve(field(1, os.urandom(8).hex().encode()) + field(2, definition) + field(13, field(1, b"image") + pairs))
    with tempfile.TemporaryDirectory() as folder:
        layout = f"oci:{folder}/layout:image"
        subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", layout], check=True)
        subprocess.run(["umoci", "unpack", "--image", f"{folder}/layout:image", f"{folder}/bundle"], check=True)
        tar = ["tar", "-C", f"{folder}/bundle/rootfs", "-c", "."]
        return subprocess.run(tar, check=True, capture_output=True).stdout


def main() -> None:
    image = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        relay(f"{folder}/grpc", os.environ["DOCKER_HOST"].removeprefix("unix://"))
        channel = grpc.insecure_channel(f"unix:{folder}/grpc")
        solve = channel.unary_unary("/moby.buildkit.v1.Control/Solve", None, None)
        repository = image.rpartition("/")[0] + "/goldens-graphs"
        base = of_tar(built(solve, graph.image(image, platform="linux/amd64").definition(), f"{repository}:base"))
        found = {}
        for number, (name, state) in enumerate(cases(image)):
            found[name] = changed(of_tar(built(solve, state.definition(), f"{repository}:{number}")), base)
        (HERE / "files.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
