"""Base images put into the registry that fails on demand."""

from __future__ import annotations

import json
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
