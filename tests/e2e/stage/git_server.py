"""Git repositories over HTTP: `git http-backend` behind http.server (smart), or the files as they are (dumb)."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stage.certificates import Authority
from stage.in_thread import serving

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "C",
    "GIT_COMMITTER_EMAIL": "c@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
    "GIT_ALLOW_PROTOCOL": "file",
}


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """Run git in `folder`; what it prints, without the last newline."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=ENVIRONMENT, input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().rstrip("\n")


class WorkingCopy:
    """A repository to commit in. It is served from its own `.git`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "config", "http.receivepack", "false")

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self, message: str = "change") -> str:
        """Commit everything: the commit's name."""
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "-m", message)
        return self.head

    def commit_tree(self, listing: str) -> str:
        """Commit a tree written by hand (`mode kind object<TAB>path` lines), whatever git thinks of it: its name."""
        import hashlib
        import zlib

        body = b""
        for line in listing.splitlines():
            head, _, path = line.partition("\t")
            mode, _, name = head.split(" ")
            body += mode.lstrip("0").encode() + b" " + path.encode() + b"\0" + bytes.fromhex(name)
        store = b"tree %d\0" % len(body) + body
        tree = hashlib.sha1(store).hexdigest()  # noqa: S324 - git's own
        place = self.folder / ".git" / "objects" / tree[:2]
        place.mkdir(exist_ok=True)
        (place / tree[2:]).write_bytes(zlib.compress(store))
        commit = git(self.folder, "commit-tree", "-m", "by hand", tree)
        git(self.folder, "update-ref", "refs/heads/main", commit)
        return commit

    def blob(self, text: str) -> str:
        return git(self.folder, "hash-object", "-w", "--stdin", stdin=text.encode())

    @property
    def head(self) -> str:
        return git(self.folder, "rev-parse", "HEAD")


class GitServer:
    """Serves every repository `name` below `folder` as `/name.git`; notes requests and credentials it is given."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = authority
        """TLS is spoken with its certificate."""
        self.requests: list[str] = []
        self.credentials: list[str] = []
        self.password = ""
        self.is_dumb = False
        self.hangs = threading.Event()
        self.hangs.set()
        """While clear, nothing is answered."""
        self.redirect = ""
        """Everything is answered with a redirection to this address."""

    def repository(self, name: str) -> WorkingCopy:
        return WorkingCopy(self.folder / name)

    def url(self, name: str, *, user: str = "") -> str:
        return f"http{'s' if self.authority else ''}://{user}{'@' if user else ''}127.0.0.1:{self.port}/{name}.git"

    @contextmanager
    def serving(self) -> Iterator[GitServer]:
        owner = self

        class Handler(_Handler):
            server_of = owner

        pair = (self.authority.certificate, self.authority.key) if self.authority else None
        with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler), pair) as self.port:
            yield self


class _Handler(BaseHTTPRequestHandler):
    server_of: GitServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        owner = self.server_of
        owner.requests.append(f"{self.command} {self.path}")
        if given := self.headers.get("Authorization"):
            owner.credentials.append(base64.b64decode(given.partition(" ")[2]).decode())
        owner.hangs.wait(60)
        if owner.redirect:
            self._send(302, {"Location": owner.redirect + self.path}, b"")
        elif owner.password and not any(word.endswith(":" + owner.password) for word in owner.credentials[-1:]):
            self._send(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
        elif owner.is_dumb:
            self._dumb()
        else:
            self._smart(body)

    def _place(self) -> tuple[Path, str]:
        name, _, rest = self.path.lstrip("/").partition(".git/")
        return self.server_of.folder / name / ".git", rest

    def _dumb(self) -> None:
        folder, rest = self._place()
        path = folder / rest.partition("?")[0]
        if rest.startswith("info/refs"):
            git(folder.parent, "update-server-info")
        if path.is_file():
            self._send(200, {"Content-Type": "text/plain"}, path.read_bytes())
        else:
            self._send(404, {}, b"")

    def _smart(self, body: bytes) -> None:
        folder, rest = self._place()
        if not folder.is_dir():
            self._send(404, {}, b"")
            return
        path, _, query = rest.partition("?")
        environment = ENVIRONMENT | {
            "GIT_PROJECT_ROOT": str(folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": "/" + path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=False)
        head, _, rest_of = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        self._send(status, headers, rest_of)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
