"""Images that no honest builder makes: the busybox base with a layer of any entries on top."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

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


def folder(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry


def image(registry: FaultyRegistry, name: str, *entries: tarfile.TarInfo) -> str:
    """Put alpine of amd64 with a layer of `entries` into the registry; what to write after FROM."""
    index = json.loads(registry.manifests["alpine", "latest"][1])
    child = next(m for m in index["manifests"] if m["platform"]["architecture"] == "amd64")
    media_type, raw = registry.manifests["alpine", child["digest"]]
    manifest = json.loads(raw)
    config = json.loads(registry.blobs["alpine", manifest["config"]["digest"]])
    layer = _tar(entries)
    config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(layer).hexdigest())
    config.get("history", []).append({"created_by": "hostile"})
    for blob in manifest["layers"]:
        registry.put_blob(name, registry.blobs["alpine", blob["digest"]])
    manifest["layers"].append(_blob(registry, name, gzip.compress(layer, mtime=0), OCI_LAYER))
    manifest["config"] = _blob(registry, name, json.dumps(config).encode(), manifest["config"]["mediaType"])
    registry.put_manifest(name, "latest", media_type, json.dumps(manifest).encode())
    return f"{registry.host}/{name}"


def _blob(registry: FaultyRegistry, name: str, raw: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": registry.put_blob(name, raw), "size": len(raw)}


def _tar(entries: tuple[tarfile.TarInfo, ...]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for entry in entries:
            archive.addfile(entry)
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
