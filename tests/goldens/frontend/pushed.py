"""Images that exist only to be looked up: a config as a case wants it, and a layer that is never fetched."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Mapping
from typing import Any

from dockerfile.bridge import image_config
from trimaran.platforms import Platform

NAMES = re.compile(r"\bcorpus/([a-z0-9-]+)(?::([\w.-]+))?")
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def push_named(registry: str, text: str, images: Mapping[str, Any]) -> None:
    """All images `corpus/NAME` that a text names: with the config given for them, or for `*`, or a plain one."""
    for name, tag in sorted({(found[1], found[2] or "latest") for found in NAMES.finditer(text)}):
        described = images.get(f"docker.io/corpus/{name}:{tag}", images.get("*", {}))
        if described is not None:
            push(registry, f"corpus/{name}", tag, described)


def push(registry: str, name: str, tag: str, described: Mapping[str, Any]) -> None:
    connection = http.client.HTTPConnection(registry, timeout=60)
    layer = _blob(connection, name, b"layer", "application/vnd.oci.image.layer.v1.tar")
    manifests = []
    for platform in map(Platform.parse, PLATFORMS):
        document = described if "config" in described else image_config(platform, **described)
        config = _blob(connection, name, json.dumps(document).encode(), "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [layer]}
        body = json.dumps(manifest).encode()
        _ask(connection, "PUT", f"/v2/{name}/manifests/{_digest(body)}", body, _MANIFEST)
        shown = {"os": platform.os, "architecture": platform.architecture}
        shown |= {"variant": platform.variant} if platform.variant else {}
        manifests.append({"mediaType": _MANIFEST, "digest": _digest(body), "size": len(body), "platform": shown})
    index = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}).encode()
    _ask(connection, "PUT", f"/v2/{name}/manifests/{tag}", index, _INDEX)
    connection.close()


def _blob(connection: http.client.HTTPConnection, name: str, content: bytes, kind: str) -> dict[str, Any]:
    location = _ask(connection, "POST", f"/v2/{name}/blobs/uploads/", b"", "application/octet-stream")
    separator = "&" if "?" in location else "?"
    _ask(connection, "PUT", f"{location}{separator}digest={_digest(content)}", content, "application/octet-stream")
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _ask(connection: http.client.HTTPConnection, method: str, url: str, body: bytes, kind: str) -> str:
    connection.request(method, url, body, {"Content-Type": kind, "Content-Length": str(len(body))})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise OSError(f"{method} {url}: {answer.status}: {text[:200]!r}")
    return answer.headers.get("Location", "")


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
