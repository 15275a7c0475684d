"""A server of the tests in a thread of its own, for as long as a context lasts."""

from __future__ import annotations

import contextlib
import os
import socketserver
import ssl
import threading
from collections.abc import Iterator

POLL = 0.05
"""Seconds a server may need to see that it is over; Python's own half a second is what most tests would wait for."""


@contextlib.contextmanager
def serving(
    server: socketserver.TCPServer, tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None
) -> Iterator[int]:
    """Serve until the context ends; its value is the port. `tls`: the files of a certificate and its key."""
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        # Shaken hands with in the thread of the connection: one that says nothing holds up no other.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
