"""A proxy as companies have: CONNECT for TLS, absolute URLs for plain HTTP; names are known to the proxy alone."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import socketserver
import urllib.parse
from collections.abc import Iterator, Mapping

from stage.in_thread import serving

CHUNK = 1 << 18


class Proxy:
    """`asked` holds what clients wanted (host:port), in order; `names` maps a host:port to where it really is."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self.names = dict(names or {})
        self.login = ""
        """`user:password` that it wants, or else says 407."""
        self.answer = b""
        """All that it says, when it has something to say."""
        self.asked: list[str] = []
        self.address = ""

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[Proxy]:
        outer = self

        class Handler(_Handler):
            proxy = outer

        with serving(_Server(("127.0.0.1", 0), Handler)) as port:
            self.address = f"127.0.0.1:{port}"
            yield self

    def refusal(self, head: bytes) -> bytes:
        """What is said instead of what was asked for; b"" when nothing is wrong."""
        if self.answer:
            return self.answer
        wanted = b"Proxy-Authorization: Basic " + base64.b64encode(self.login.encode())
        if self.login and wanted.lower() not in head.lower():
            return b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
        return b""

    def connect(self, target: str) -> socket.socket:
        self.asked.append(target)
        host, _, port = self.names.get(target, target).rpartition(":")
        return socket.create_connection((host, int(port)), timeout=20)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


class _Handler(socketserver.StreamRequestHandler):
    proxy: Proxy
    rbufsize = 0  # what follows the head of a request is the tunnel's

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            line = self.rfile.readline(65536)
            if not line:
                return
            head += line
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        refusal = self.proxy.refusal(head)
        if refusal:
            self.request.sendall(refusal)
            return
        first = b""
        if method != "CONNECT":
            url = urllib.parse.urlsplit(target)
            path = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
            first = head.replace(target.encode(), path.encode(), 1)
            first = first.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")  # one request each, so each is seen
            target = f"{url.hostname}:{url.port or 80}"
        try:
            upstream = self.proxy.connect(target)
        except OSError:
            self.request.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with upstream:
            if method == "CONNECT":
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            upstream.sendall(first)
            _relay(self.request, upstream)


def _relay(one: socket.socket, other: socket.socket) -> None:
    peers = {one: other, other: one}
    with contextlib.suppress(OSError):
        while True:
            for ready in select.select([one, other], [], [])[0]:
                content = ready.recv(CHUNK)
                if not content:
                    return
                peers[ready].sendall(content)
