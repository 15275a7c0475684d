"""Puts the layers into one OCI image layout: an index per base, an image per architecture."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bases import busybox, debian
from bases.layer import EPOCH

RECIPE = "layout-1"
CREATED = "2023-11-14T22:13:20Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OCI = {
    "index": "application/vnd.oci.image.index.v1+json",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
DOCKER = {
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
REF_NAME = "org.opencontainers.image.ref.name"


def make(folder: str | os.PathLike[str], *, only_busybox: bool = False) -> Path:
    """Make or find the base images in `folder`; the layout's path. Safe to call from several processes.

    busybox alone takes seconds, Debian minutes; the two layouts lie side by side.
    """
    home = Path(folder).absolute()
    layers = home / "layers"
    layers.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        small, large = busybox.layers(layers), {} if only_busybox else debian.layers(layers)
        key = " ".join([RECIPE, *(path.name for path in (*small.values(), *large.values()))])
        layout = place(home, only_busybox=only_busybox)
        if _key_of(layout) != key:
            _assemble(layout, small, large, key)
    return layout


def place(folder: str | os.PathLike[str], *, only_busybox: bool = False) -> Path:
    """Where the layout lies."""
    return Path(folder) / ("layout-busybox" if only_busybox else "layout")


def _key_of(layout: Path) -> str:
    try:
        return (layout / "made-of").read_text()
    except FileNotFoundError:
        return ""


def _assemble(layout: Path, small: Mapping[str, Path], large: Mapping[str, Path], key: str) -> None:
    shutil.rmtree(layout, ignore_errors=True)
    (layout / "blobs/sha256").mkdir(parents=True)
    indexes = [
        {**_index(layout, OCI, small, busybox.ARCHITECTURES, "sh"), "annotations": {REF_NAME: "busybox:latest"}},
        {**_index(layout, DOCKER, small, busybox.ARCHITECTURES, "sh"), "annotations": {REF_NAME: "busybox:docker"}},
    ]
    if large:
        index = _index(layout, OCI, large, debian.ARCHITECTURES, "bash")
        indexes.append({**index, "annotations": {REF_NAME: "debian:12"}})
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    document = {"schemaVersion": 2, "mediaType": OCI["index"], "manifests": indexes}
    (layout / "index.json").write_bytes(_encoded(document))
    (layout / "made-of").write_text(key)  # last: only a whole layout is found again


def _index(
    layout: Path,
    kinds: Mapping[str, str],
    layers: Mapping[str, Path],
    architectures: Mapping[str, tuple[str, str]],
    command: str,
) -> dict[str, Any]:
    manifests = []
    for name, (architecture, variant) in architectures.items():
        platform = {"architecture": architecture, "os": "linux", **({"variant": variant} if variant else {})}
        manifests.append({**_image(layout, kinds, layers[name], platform, command), "platform": platform})
    document = {"schemaVersion": 2, "mediaType": kinds["index"], "manifests": manifests}
    return _put(layout, kinds["index"], _encoded(document))


def _image(
    layout: Path, kinds: Mapping[str, str], layer: Path, platform: Mapping[str, str], command: str
) -> dict[str, Any]:
    with gzip.open(layer) as content:
        diff_id = "sha256:" + hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    config = {
        **platform,
        "created": CREATED,
        "config": {"Env": [PATH], "Cmd": [command]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": CREATED, "created_by": f"packed from Debian packages at {EPOCH}"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": kinds["manifest"],
        "config": _put(layout, kinds["config"], _encoded(config)),
        "layers": [_put(layout, kinds["layer"], layer.read_bytes())],
    }
    return _put(layout, kinds["manifest"], _encoded(manifest))


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _put(layout: Path, media_type: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    path = layout / "blobs/sha256" / digest
    if not path.exists():
        path.write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}
