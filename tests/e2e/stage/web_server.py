"""A web server with ETags, for files that builds fetch: conditional, redirecting, breaking off when told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from stage.certificates import Authority
from stage.in_thread import serving

MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"
MODIFIED_SECONDS = 1445412480


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]
    status: int


class WebServer:
    """`files`: path → content; `headers`: path → more headers (an ETag of "" means none)."""

    def __init__(self, authority: Authority | None = None) -> None:
        self.authority = authority
        """TLS is spoken with its certificate."""
        self.pair = (authority.certificate, authority.key) if authority else None
        """Certificate and key."""
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.redirects: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.ignores_conditions = False
        self.always_unmodified = False
        self.hangs = threading.Event()
        self.hangs.set()
        """While clear, bodies stop in the middle."""
        self.fails = 0
        """This many of the next answers are 503."""
        self.breaks_off = 0
        """This many of the next bodies end in the middle."""

    def url(self, path: str, *, user: str = "") -> str:
        return f"http{'s' if self.authority else ''}://{user}{'@' if user else ''}127.0.0.1:{self.port}{path}"

    @property
    def statuses(self) -> list[int]:
        return [asked.status for asked in self.asked]

    @contextmanager
    def serving(self) -> Iterator[WebServer]:
        owner = self

        class Handler(_Handler):
            server_of = owner

        with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler), self.pair) as self.port:
            yield self


class _Handler(BaseHTTPRequestHandler):
    server_of: WebServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        owner = self.server_of
        path = self.path.partition("?")[0]
        content = owner.files.get(path)
        if owner.fails:
            owner.fails -= 1
            self._send(503, {"Retry-After": "0"}, b"")
        elif path in owner.redirects:
            self._send(302, {"Location": owner.redirects[path]}, b"")
        elif content is None:
            self._send(404, {}, b"no such file\n")
        else:
            etag = f'"{sha256(content).hexdigest()[:16]}"'
            headers = {"ETag": etag, "Last-Modified": MODIFIED} | owner.headers.get(path, {})
            headers = {name: value for name, value in headers.items() if value}
            unchanged = self.headers.get("If-None-Match") == headers.get("ETag", "-") or (
                "ETag" not in headers and self.headers.get("If-Modified-Since") == headers.get("Last-Modified", "-")
            )
            if owner.always_unmodified or (unchanged and not owner.ignores_conditions):
                self._send(304, headers, b"")
            else:
                self._send(200, headers, content)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        owner = self.server_of
        owner.asked.append(Asked(self.path, dict(self.headers.items()), status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not owner.hangs.is_set() and body:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            owner.hangs.wait(60)
            body = body[len(body) // 2 :]
        if owner.breaks_off and body:
            owner.breaks_off -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)
