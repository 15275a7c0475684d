"""A token server as the distribution specification describes it, for docker-registry's `auth: token`.

The one user may do everything; nobody in particular may pull what is below `public/`. Every request is kept, so that a
test can say who was told which credentials.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from stage.certificates import Authority, der, signature
from stage.in_thread import serving

USER, PASSWORD = "captain", "three hulls"
ISSUER, SERVICE = "tokens.test", "registry.test"
LIFETIME = 60  # seconds, the shortest that clients have to expect


class Asked(NamedTuple):
    method: str
    scopes: tuple[str, ...]
    user: str  # "" for nobody in particular


class TokenServer:
    def __init__(self, authority: Authority) -> None:
        self.asked: list[Asked] = []
        self._authority = authority
        self.port = 0

    @property
    def realm(self) -> str:
        return f"https://127.0.0.1:{self.port}/token"

    @contextlib.contextmanager
    def serving(self) -> Iterator[TokenServer]:
        outer = self

        class Handler(_Handler):
            tokens = outer

        pair = (self._authority.certificate, self._authority.key)
        with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler), pair) as self.port:
            yield self

    def issue(self, user: str, scopes: tuple[str, ...]) -> str:
        now = int(time.time())
        chain = [base64.b64encode(der(self._authority.ca)).decode()]
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 5,
            "exp": now + LIFETIME,
            "jti": f"{time.time_ns()}",
            "access": [granted for scope in scopes if (granted := _granted(user, scope))],
        }
        signed = f"{_part({'typ': 'JWT', 'alg': 'RS256', 'x5c': chain})}.{_part(claims)}"
        return f"{signed}.{_base64(signature(signed.encode(), self._authority.ca_key))}"


def _granted(user: str, scope: str) -> dict[str, Any] | None:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    wanted = actions.split(",")
    allowed = wanted if user else [action for action in wanted if action == "pull" and name.startswith("public/")]
    return {"type": kind, "name": name, "actions": allowed} if allowed else None


def _part(document: dict[str, Any]) -> str:
    return _base64(json.dumps(document, separators=(",", ":")).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class _Handler(BaseHTTPRequestHandler):
    tokens: TokenServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        user, password = self._basic()
        self._answer(user, password, query.get("scope", []))

    def do_POST(self) -> None:
        """The OAuth2 form: credentials in the body, scopes in one field."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        form = {name: values[0] for name, values in urllib.parse.parse_qs(body).items()}
        self._answer(form.get("username", ""), form.get("password", ""), form.get("scope", "").split())

    def _basic(self) -> tuple[str, str]:
        kind, _, encoded = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return "", ""
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        return user, password

    def _answer(self, user: str, password: str, fields: list[str]) -> None:
        scopes = tuple(scope for field in fields for scope in field.split())
        self.tokens.asked.append(Asked(self.command, scopes, user))
        if user and (user != USER or not hmac.compare_digest(password, PASSWORD)):
            self._send(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]})
            return
        token = self.tokens.issue(user, scopes)
        self._send(200, {"token": token, "access_token": token, "expires_in": LIFETIME})

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass
