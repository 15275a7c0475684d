"""Pushes the image that a case begins from: busybox's layer under a config that the case describes."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Mapping
from typing import Any

from goldens.images import Tree, images, pushed

SOURCE = "library/busybox"
BYTES = "application/octet-stream"


def push(registry: str, name: str, config: Mapping[str, Any]) -> None:
    """`config` replaces the `config` of busybox for amd64."""
    with pushed(f"{registry}/{SOURCE}:latest") as (opened, descriptor):
        image = images(opened, descriptor)["linux/amd64"]
    document = json.dumps({**image.config, "config": config}, sort_keys=True).encode()
    kept = {"mediaType": image.manifest["config"]["mediaType"], "digest": _digest(document), "size": len(document)}
    manifest = {**image.manifest, "config": kept}
    connection = http.client.HTTPConnection(registry, timeout=60)
    for layer in image.manifest["layers"]:
        _ask(connection, "POST", f"/v2/{name}/blobs/uploads/?mount={layer['digest']}&from={SOURCE}", b"", expected=201)
    location = _ask(connection, "POST", f"/v2/{name}/blobs/uploads/", b"", expected=202)
    separator = "&" if "?" in location else "?"
    _ask(connection, "PUT", f"{location}{separator}digest={kept['digest']}", document, expected=201)
    kind = image.manifest["mediaType"]
    _ask(connection, "PUT", f"/v2/{name}/manifests/latest", json.dumps(manifest).encode(), expected=201, kind=kind)
    connection.close()


def _ask(
    connection: http.client.HTTPConnection, method: str, url: str, body: bytes, *, expected: int, kind: str = BYTES
) -> str:
    headers = {"Content-Type": kind, "Content-Length": str(len(body))}
    connection.request(method, url, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != expected:
        raise OSError(f"{method} {url}: {answer.status}: {text[:200]!r}")
    return answer.headers.get("Location", "")


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def trees(registry: str) -> dict[str, Tree]:
    """The files of busybox, by platform: what a case's files are compared with."""
    with pushed(f"{registry}/{SOURCE}:latest") as (opened, descriptor):
        return {name: image.tree for name, image in images(opened, descriptor).items()}
