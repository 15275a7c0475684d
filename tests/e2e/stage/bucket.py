"""A bucket that fails on demand: as much of S3's protocol as boto3 speaks for caches, over HTTP on loopback."""

from __future__ import annotations

import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

NAME = "caches"


class Refusal(msgspec.Struct, kw_only=True):
    """What becomes of requests of `method` whose path and query hold `path`: `seconds` pass, then it is `status`.

    A status of 0: the right answer.
    """

    method: str = ""
    path: str = ""
    times: int = 0
    """0: always."""
    status: int = 0
    code: str = "InternalError"
    seconds: float = 0.0


class FaultyBucket:
    """Use as a context manager; `attributes` is how `--cache-to` calls it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.uploads = itertools.count()
        self.refusals: list[Refusal] = []
        self.requests: list[tuple[str, str, int]] = []
        """(method, path and query, bytes)."""
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.bucket = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def attributes(self) -> str:
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        keys = "access_key_id=id,secret_access_key=a secret"
        return f"type=s3,bucket={NAME},region=us-east-1,endpoint_url={address},use_path_style=true,{keys}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def refuse(self, **rule: Any) -> Refusal:
        self.refusals.append(Refusal(**rule))
        return self.refusals[-1]

    def blobs(self) -> list[int]:
        """Sizes of the blobs that are there."""
        return [len(raw) for key, raw in self.objects.items() if key.startswith("blobs/")]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    bucket: FaultyBucket

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are the point of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Silent: `requests` has it all."""

    def do_GET(self) -> None:
        bucket = self.server.bucket
        if "100-continue" in self.headers.get("Expect", ""):
            self.send_response_only(100)
            self.end_headers()
        body = self._body()
        bucket.requests.append((self.command, self.path, len(body)))
        for refusal in bucket.refusals:
            if refusal.method in ("", self.command) and refusal.path in self.path:
                if refusal.times == 1:
                    bucket.refusals.remove(refusal)
                refusal.times -= 1 if refusal.times > 1 else 0
                bucket.ended.wait(refusal.seconds)
                if refusal.status:
                    return self._refused(refusal.status, refusal.code)
                break
        parts = urlsplit(self.path)
        key = unquote(parts.path).removeprefix(f"/{NAME}/")
        return self._answer(key, {name: value[0] for name, value in parse_qs(parts.query, True).items()}, body)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names http.server calls

    def _body(self) -> bytes:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return raw
        found = b""
        while raw:
            head, _, raw = raw.partition(b"\r\n")
            size = int(head.split(b";")[0], 16)
            if not size:
                break
            found, raw = found + raw[:size], raw[size + 2 :]
        return found

    def _answer(self, key: str, query: dict[str, str], body: bytes) -> None:
        bucket = self.server.bucket
        upload = query.get("uploadId", "")
        if self.command == "POST" and "uploads" in query:
            name = f"upload{next(bucket.uploads)}"
            bucket.parts[name] = {}
            return self._xml(
                f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            )
        if upload and upload not in bucket.parts:
            return self._refused(404, "NoSuchUpload")
        if self.command == "POST":
            bucket.objects[key] = b"".join(raw for _, raw in sorted(bucket.parts.pop(upload).items()))
            return self._xml(f"<CompleteMultipartUploadResult><Key>{key}</Key></CompleteMultipartUploadResult>")
        if self.command == "DELETE":
            bucket.parts.pop(upload, None)
            return self._send(204, b"")
        if self.command == "PUT":
            if upload:
                bucket.parts[upload][int(query["partNumber"])] = body
            else:
                bucket.objects[key] = body
            return self._send(200, b"", {"ETag": '"x"'})
        if key not in bucket.objects:
            return self._refused(404, "NoSuchKey")
        return self._send(200, bucket.objects[key], {"ETag": '"x"'})

    def _xml(self, text: str) -> None:
        self._send(200, f'<?xml version="1.0"?>{text}'.encode(), {"Content-Type": "application/xml"})

    def _refused(self, status: int, code: str) -> None:
        raw = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>we say {code}</Message></Error>'.encode()
        self._send(status, raw, {"Content-Type": "application/xml"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
