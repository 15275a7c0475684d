"""Base images put into the registry that fails on demand."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from bases.build import REF_NAME
from trimaran.testing.registry import FaultyRegistry


def fill(registry: FaultyRegistry, layout: Path, name: str = "busybox:latest", repository: str = "alpine") -> None:
    """Put the image `name` of the layout into `registry` as `repository`:latest, whole."""
    for descriptor in json.loads((layout / "index.json").read_bytes())["manifests"]:
        if descriptor["annotations"][REF_NAME] == name:
            _put_tree(registry, layout, descriptor, repository, "latest")


def layers_of(registry: FaultyRegistry, repository: str = "alpine", architecture: str = "amd64") -> list[str]:
    """Digests of the layers of the image for that architecture."""
    index = json.loads(registry.manifests[repository, "latest"][1])
    child = next(m for m in index["manifests"] if m["platform"]["architecture"] == architecture)
    manifest = json.loads(registry.manifests[repository, child["digest"]][1])
    return [layer["digest"] for layer in manifest["layers"]]


def uploads(registry: FaultyRegistry, since: int = 0) -> list[str]:
    """Digests of the blobs that were sent after the first `since` requests."""
    begun = [each for each in registry.requests[since:] if each.method in ("PUT", "PATCH") and "/uploads/" in each.path]
    return [each.query.partition("digest=")[2].replace("%3A", ":") for each in begun if "digest=" in each.query]


def lacking(registry: FaultyRegistry) -> list[str]:
    """What a manifest in it names that is not there: in a whole registry nothing is, and each blob is what its name says."""
    found = []
    for (repository, _), (_, raw) in registry.manifests.items():
        document = json.loads(raw)
        for child in filter(None, (document.get("config"), *document.get("layers", ()))):
            blob = registry.blobs.get((repository, child["digest"]), b"")
            if "sha256:" + sha256(blob).hexdigest() != child["digest"]:
                found.append(child["digest"])
    return found


def _put_tree(
    registry: FaultyRegistry, layout: Path, descriptor: dict[str, Any], repository: str, reference: str
) -> None:
    raw = _content(layout, descriptor)
    document = json.loads(raw)
    for child in document.get("manifests", ()):
        _put_tree(registry, layout, child, repository, child["digest"])
    for blob in filter(None, (document.get("config"), *document.get("layers", ()))):
        registry.put_blob(repository, _content(layout, blob))
    registry.put_manifest(repository, reference, descriptor["mediaType"], raw)


def _content(layout: Path, descriptor: dict[str, Any]) -> bytes:
    return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
