"""A registry in this process that misbehaves on demand: real HTTP on loopback, everything in memory.

Faults are rules: the first that fits a request is used up and decides what happens instead of (or on top of) the
right answer. Everything that was asked is kept in `requests`, so that tests can tell who was shown which credentials.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import msgspec

STATUS = "status"
RESET = "reset"
TRUNCATE = "truncate"
CORRUPT = "corrupt"
SLOW = "slow"
STALL = "stall"
REDIRECT = "redirect"
HEADER = "header"
DROP_UPLOAD = "drop upload"


class Fault(msgspec.Struct, kw_only=True):
    """What goes wrong, for `times` requests (0: always) of `method` whose path holds `path`.

    The kinds that replace the whole answer (STATUS, SLOW, REDIRECT) look for `path` in the query too.
    STATUS: `status` with `headers` and `body`. RESET: the connection is reset after `after` bytes of the answer (or
    of the request's body, for uploads). TRUNCATE: the answer ends after `after` bytes. CORRUPT: one byte of the body is
    another. SLOW: `seconds` pass first. STALL: `seconds` pass after `after` bytes of the answer. REDIRECT: 307 to
    `location`. HEADER: `headers` replace the answer's own. DROP_UPLOAD: an upload session is forgotten.
    """

    kind: str
    method: str = ""
    path: str = ""
    times: int = 1
    status: int = 500
    headers: dict[str, str] = {}
    body: bytes = b""
    after: int = 0
    seconds: float = 0.0
    location: str = ""


class Seen(msgspec.Struct, frozen=True):
    """One request as it came; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    size: int


class FaultyRegistry:
    """Use as a context manager; `host` is what references begin with.

    `users`: name -> password; with any, everything needs them: by `token` through this server's own `/token` (or
    `realm`), else by Basic. `identity_tokens` are taken by the token server's POST.
    """

    def __init__(
        self,
        *,
        users: dict[str, str] | None = None,
        token: bool = False,
        realm: str = "",
        bind: str = "127.0.0.1",
        tls: tuple[str, str] | None = None,
    ) -> None:
        self.users = users or {}
        self.token = token
        self.realm = realm
        self.identity_tokens: set[str] = set()
        self.token_life = 300
        self.mounts = True
        self.ranges = True
        self.challenge = ""
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.sessions = itertools.count()
        self.tokens: dict[str, tuple[float, list[str]]] = {}
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []
        self.lock = threading.Lock()
        self._server = _Server((bind, 0), _Handler)
        self._server.registry = self
        self.scheme = "http"
        if tls is not None:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.scheme = "https"
        self.port = self._server.server_address[1]
        self.host = f"{bind}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(self, kind: str, **rule: Any) -> Fault:
        """Add a rule; see `Fault`."""
        fault = Fault(kind=kind, **rule)
        self.faults.append(fault)
        return fault

    def take(self, kinds: tuple[str, ...], method: str, path: str) -> Fault | None:
        """The first rule of `kinds` that fits, used up by one."""
        with self.lock:
            for fault in self.faults:
                if fault.kind in kinds and fault.method in ("", method) and fault.path in path:
                    if fault.times == 1:
                        self.faults.remove(fault)
                    elif fault.times > 1:
                        fault.times -= 1
                    return fault
        return None

    def seen(self, method: str = "", path: str = "") -> list[Seen]:
        """The requests so far, by method and part of the path."""
        return [each for each in self.requests if method in ("", each.method) and path in each.path]

    def put_blob(self, repository: str, raw: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        self.blobs[repository, digest] = raw
        return digest

    def put_manifest(self, repository: str, reference: str, media_type: str, raw: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        for key in (reference, digest):
            self.manifests[repository, key] = (media_type, raw)
        return digest


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: FaultyRegistry

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are the point of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 20

    @property
    def registry(self) -> FaultyRegistry:
        return self.server.registry

    def log_message(self, *_: Any) -> None:
        """Silent: `requests` has it all."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 - names http.server calls

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        self.route = parts.path
        reset = self.registry.take((RESET,), self.command, parts.path) if self.command in ("PUT", "PATCH") else None
        body = self._read_body(reset)
        if body is None:
            return None
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.registry.requests.append(Seen(self.command, parts.path, parts.query, headers, len(body)))
        fault = self.registry.take((STATUS, SLOW, REDIRECT), self.command, self.path)
        if fault is not None:
            time.sleep(fault.seconds)
            if fault.kind == STATUS:
                return self._answer(fault.status, fault.headers, fault.body)
            if fault.kind == REDIRECT:
                return self._answer(307, {"Location": fault.location})
        if parts.path == "/token":
            return self._token(body, headers)
        if not self._authorized(headers):
            return self._challenge()
        return self._dispatch(body)

    def _read_body(self, reset: Fault | None) -> bytes | None:
        chunks = bytearray()
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks += self.rfile.read(size)
                self.rfile.readline()
                if reset is not None and len(chunks) >= reset.after:
                    self._broken_upload(bytes(chunks[: reset.after]))
                    return None
            self.rfile.readline()
            return bytes(chunks)
        length = int(self.headers.get("Content-Length") or 0)
        if reset is not None:
            self._broken_upload(self.rfile.read(min(reset.after, length)))
            return None
        return self.rfile.read(length)

    def _broken_upload(self, received: bytes) -> None:
        upload = self.registry.uploads.get(self.route.rpartition("/")[2])
        if upload is not None:
            upload += received
        self._hang_up()

    def _hang_up(self) -> None:
        """A TCP reset, not a polite end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    # -- authorization ----------------------------------------------------------------------------------------------

    def _authorized(self, headers: dict[str, str]) -> bool:
        registry = self.registry
        if not registry.users and not registry.token:
            return True
        kind, _, value = headers.get("authorization", "").partition(" ")
        if not registry.token:
            return kind == "Basic" and self._known(value)
        expires, scopes = registry.tokens.get(value, (0.0, []))
        return kind == "Bearer" and expires > time.monotonic() and self._in_scope(scopes)

    def _in_scope(self, scopes: list[str]) -> bool:
        if self.route == "/v2/":
            return True
        repository = _split(self.route)[0]
        action = "pull" if self.command in ("GET", "HEAD") else "push"
        return any(
            scope.split(":")[1] == repository and action in scope.rpartition(":")[2].split(",") for scope in scopes
        )

    def _known(self, basic: str) -> bool:
        name, _, password = base64.b64decode(basic).decode().partition(":")
        return self.registry.users.get(name) == password

    def _challenge(self) -> None:
        registry = self.registry
        header = registry.challenge or 'Basic realm="registry"'
        if registry.token and not registry.challenge:
            header = f'Bearer realm="{registry.realm or registry.url + "/token"}",service="test"'
            repository = _split(self.route)[0]
            if repository:
                header += f',scope="repository:{repository}:pull"'
        body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        self._answer(401, {"WWW-Authenticate": header}, body)

    def _token(self, body: bytes, headers: dict[str, str]) -> None:
        registry = self.registry
        fields = parse_qs(body.decode()) if self.command == "POST" else self.query
        if self.command == "POST":
            allowed = fields.get("refresh_token", [""])[0] in registry.identity_tokens
        else:
            kind, _, value = headers.get("authorization", "").partition(" ")
            allowed = not registry.users or (kind == "Basic" and self._known(value))
        if not allowed:
            return self._answer(401, {}, b'{"details":"incorrect username or password"}')
        scopes = [scope for text in fields.get("scope", []) for scope in text.split(" ")]
        token = hashlib.sha256(repr((time.monotonic(), scopes)).encode()).hexdigest()
        registry.tokens[token] = (time.monotonic() + registry.token_life, scopes)
        answer = json.dumps({"token": token, "expires_in": registry.token_life}).encode()
        return self._answer(200, {"Content-Type": "application/json"}, answer)

    # -- the distribution API ---------------------------------------------------------------------------------------

    def _dispatch(self, body: bytes) -> None:
        repository, kind, rest = _split(self.route)
        if self.route == "/v2/":
            return self._answer(200, {}, b"{}")
        if kind == "tags":
            tags = sorted(ref for repo, ref in self.registry.manifests if repo == repository and ":" not in ref)
            return self._answer(200, {}, json.dumps({"name": repository, "tags": tags}).encode())
        if kind == "manifests":
            return self._manifest(repository, rest, body)
        if kind == "uploads":
            return self._upload(repository, rest, body)
        raw = self.registry.blobs.get((repository, rest))
        if raw is None:
            return self._answer(404, {}, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}')
        return self._send_blob(raw)

    def _send_blob(self, raw: bytes) -> None:
        wanted = self.headers.get("Range", "")
        if wanted and self.registry.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            return self._answer(206, {"Content-Range": f"bytes {start}-{len(raw) - 1}/{len(raw)}"}, raw[start:])
        return self._answer(200, {"Content-Type": "application/octet-stream"}, raw)

    def _manifest(self, repository: str, reference: str, body: bytes) -> None:
        if self.command == "PUT":
            digest = self.registry.put_manifest(repository, reference, self.headers.get("Content-Type", ""), body)
            return self._answer(201, {"Docker-Content-Digest": digest})
        found = self.registry.manifests.get((repository, reference))
        if found is None:
            return self._answer(404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        digest = "sha256:" + hashlib.sha256(found[1]).hexdigest()
        return self._answer(200, {"Content-Type": found[0], "Docker-Content-Digest": digest}, found[1])

    def _upload(self, repository: str, session: str, body: bytes) -> None:
        registry = self.registry
        if self.command == "POST":
            digest, source = self.query.get("mount", [""])[0], self.query.get("from", [""])[0]
            if registry.mounts and (source, digest) in registry.blobs:
                registry.blobs[repository, digest] = registry.blobs[source, digest]
                return self._answer(201, {"Location": f"/v2/{repository}/blobs/{digest}"})
            session = f"session{next(registry.sessions)}"
            registry.uploads[session] = bytearray()
            return self._answer(202, {"Location": f"/v2/{repository}/blobs/uploads/{session}?_state=x", "Range": "0-0"})
        upload = registry.uploads.get(session)
        if upload is None or registry.take((DROP_UPLOAD,), self.command, self.route):
            return self._answer(404, {}, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"upload unknown"}]}')
        location = f"/v2/{repository}/blobs/uploads/{session}?_state=y"
        if self.command == "GET":
            return self._answer(204, {"Location": location, "Range": f"0-{max(0, len(upload) - 1)}"})
        upload += body
        if self.command == "PATCH":
            return self._answer(202, {"Location": location, "Range": f"0-{len(upload) - 1}"})
        digest = self.query.get("digest", [""])[0]
        if digest != "sha256:" + hashlib.sha256(upload).hexdigest():
            return self._answer(400, {}, b'{"errors":[{"code":"DIGEST_INVALID","message":"wrong digest"}]}')
        registry.blobs[repository, digest] = bytes(registry.uploads.pop(session))
        return self._answer(201, {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        take = self.registry.take
        replaced = take((HEADER,), self.command, self.route)
        if take((CORRUPT,), self.command, self.route) and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        cut = take((TRUNCATE, RESET, STALL), self.command, self.route) if self.command == "GET" else None
        self.send_response(status)
        for key, value in {**headers, **(replaced.headers if replaced is not None else {})}.items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: cut.after])
        if cut.kind == STALL:
            time.sleep(cut.seconds)
            self.wfile.write(body[cut.after :])
            return
        self.close_connection = True
        if cut.kind == RESET:
            time.sleep(0.05)  # let what was sent arrive: a reset throws it away
            self._hang_up()


def _split(path: str) -> tuple[str, str, str]:
    """(repository, kind, rest) of a path of the API."""
    path = path.removeprefix("/v2/")
    for mark, kind in (
        ("/blobs/uploads/", "uploads"),
        ("/blobs/", "blobs"),
        ("/manifests/", "manifests"),
        ("/tags/", "tags"),
    ):
        if mark in path:
            repository, _, rest = path.rpartition(mark)
            return repository, kind, rest
    return "", "", ""
