"""Images that no honest builder makes: the busybox base with a layer of any entries on top."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from trimaran.testing.registry import FaultyRegistry

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
    return entry


def pipe(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.FIFOTYPE, 0o644
    return entry


def hard_link(name: str, target: str, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = tarfile.LNKTYPE, target, mode
    return entry


def plain(name: str, mode: int = 0o644) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    return entry


def folder(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry


class Layer(NamedTuple):
    """A layer as a registry has it: what it says of itself need not be true."""

    blob: bytes
    diff_id: str
    media_type: str = OCI_LAYER
    size: int = -1

    @classmethod
    def of(cls, tar: bytes) -> Layer:
        return cls(gzip.compress(tar, mtime=0), "sha256:" + hashlib.sha256(tar).hexdigest())


def image(registry: FaultyRegistry, name: str, *entries: tarfile.TarInfo) -> str:
    """Put alpine of amd64 with a layer of `entries` into the registry; what to write after FROM."""
    return image_of(registry, name, Layer.of(archive(*((entry, b"") for entry in entries))))


def image_of(registry: FaultyRegistry, name: str, *layers: Layer) -> str:
    """The same with any layers."""
    index = json.loads(registry.manifests["alpine", "latest"][1])
    child = next(m for m in index["manifests"] if m["platform"]["architecture"] == "amd64")
    media_type, raw = registry.manifests["alpine", child["digest"]]
    manifest = json.loads(raw)
    config = json.loads(registry.blobs["alpine", manifest["config"]["digest"]])
    for blob in manifest["layers"]:
        registry.put_blob(name, registry.blobs["alpine", blob["digest"]])
    for layer in layers:
        config["rootfs"]["diff_ids"].append(layer.diff_id)
        config.get("history", []).append({"created_by": "hostile"})
        said = _blob(registry, name, layer.blob, layer.media_type)
        manifest["layers"].append(said if layer.size < 0 else {**said, "size": layer.size})
    manifest["config"] = _blob(registry, name, json.dumps(config).encode(), manifest["config"]["mediaType"])
    registry.put_manifest(name, "latest", media_type, json.dumps(manifest).encode())
    return f"{registry.host}/{name}"


def _blob(registry: FaultyRegistry, name: str, raw: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": registry.put_blob(name, raw), "size": len(raw)}


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar with the entries as they are, whatever they say."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry, data in members:
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def untouched(victim: Path) -> Callable[[], None]:
    """Look at a folder of this machine now; the function fails when it is not as it was, in content, modes or times."""
    before = _facts(victim)

    def check() -> None:
        assert _facts(victim) == before, "something of an image reached this machine"

    return check


def _facts(victim: Path) -> dict[str, tuple[int, ...]]:
    paths = [victim, *sorted(victim.rglob("*"))]
    return {str(p): (s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns, s.st_size) for p in paths for s in [p.lstat()]}
