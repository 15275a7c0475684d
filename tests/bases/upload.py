"""Pushes the layout to a registry on this machine, over plain HTTP and without credentials."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bases.build import REF_NAME, place

# Where each image of the layout goes. `library/…` is what a mirror of docker.io is asked for; with alpine among the
# names, Dockerfiles found in the wild build without any other registry.
NAMES = {
    "busybox:latest": ("busybox:latest", "library/busybox:latest", "alpine:latest", "library/alpine:latest"),
    "busybox:docker": ("busybox:docker", "library/busybox:docker"),
    "debian:12": ("debian:12", "debian:latest", "library/debian:12", "library/debian:latest"),
}


def push(folder: str | os.PathLike[str], registry: str, *, only_busybox: bool = False) -> Iterator[str]:
    """Push the bases that `make` left in `folder` to `registry` (host:port); each name once it is there."""
    layout = place(folder, only_busybox=only_busybox)
    document = json.loads((layout / "index.json").read_bytes())
    connection = http.client.HTTPConnection(registry, timeout=120)
    try:
        for descriptor in document["manifests"]:
            first = ""
            for name in NAMES[descriptor["annotations"][REF_NAME]]:
                repository, _, tag = name.partition(":")
                _Pusher(connection, layout, repository, mount_from=first).index(descriptor, tag)
                first = first or repository
                yield name
    finally:
        connection.close()


class _Pusher:
    def __init__(self, connection: http.client.HTTPConnection, layout: Path, repository: str, mount_from: str) -> None:
        self._connection, self._layout, self._repository, self._from = connection, layout, repository, mount_from

    def index(self, descriptor: dict[str, Any], tag: str) -> None:
        for child in self._document(descriptor)["manifests"]:
            manifest = self._document(child)
            for blob in (manifest["config"], *manifest["layers"]):
                self._blob(blob)
            self._manifest(child, child["digest"])
        self._manifest(descriptor, tag)

    def _manifest(self, descriptor: dict[str, Any], name: str) -> None:
        kind = {"Content-Type": descriptor["mediaType"]}
        self._ask("PUT", f"manifests/{name}", self._content(descriptor), kind, expected=201)

    def _blob(self, descriptor: dict[str, Any]) -> None:
        digest = descriptor["digest"]
        if self._ask("HEAD", f"blobs/{digest}").status == 200:
            return
        query = f"?mount={digest}&from={self._from}" if self._from else ""
        begun = self._ask("POST", f"blobs/uploads/{query}")
        if begun.status == 201:
            return
        location = begun.headers["Location"]
        separator = "&" if "?" in location else "?"
        url = f"{location}{separator}digest={digest}"
        self._ask("PUT", url, self._content(descriptor), {"Content-Type": "application/octet-stream"}, expected=201)

    def _ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, *, expected: int = 0
    ) -> http.client.HTTPResponse:
        url = path if path.startswith("http") else f"/v2/{self._repository}/{path}"
        self._connection.request(method, url, body or None, {"Content-Length": str(len(body)), **(headers or {})})
        answer = self._connection.getresponse()
        text = answer.read()
        if expected and answer.status != expected:
            raise OSError(f"{method} {url}: {answer.status}: {text[:200].decode(errors='replace')}")
        return answer

    def _document(self, descriptor: dict[str, Any]) -> dict[str, Any]:
        return json.loads(self._content(descriptor))  # type: ignore[no-any-return]

    def _content(self, descriptor: dict[str, Any]) -> bytes:
        return (self._layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
