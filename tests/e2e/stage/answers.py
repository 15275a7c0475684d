"""A web server of this machine that says who asked and when to answer: for steps that shall wait for each other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stage.in_thread import serving


class Answers:
    """Every path asked for is kept in `asked`; the first `held` answers wait until `go` is set."""

    def __init__(self, *, held: int = 0) -> None:
        self.asked: list[str] = []
        self.held = held
        self.go = threading.Event()
        self.url = ""

    @contextlib.contextmanager
    def serving(self) -> Iterator[Answers]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                number = len(outer.asked)
                if number <= outer.held:
                    outer.go.wait()
                body = f"{number}\n".encode()
                with contextlib.suppress(OSError):  # who asked may have been killed
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        with serving(server) as port:
            self.url = f"http://127.0.0.1:{port}"
            try:
                yield self
            finally:
                self.go.set()
