"""What of an image is compared, in a form that is the same on every day and every machine."""

from __future__ import annotations

import json
from typing import Any

from goldens.images import Image, Tree

NOW = "now"


def document(
    found: dict[str, Image], bases: dict[str, Tree], begun: int, *, with_layers: bool = False
) -> dict[str, Any]:
    """Per platform: manifest, config and what differs from the base image's files. `begun`: when the build began.

    If asked, also what is in each layer above the base's, which is one.
    """
    return {
        name: {
            "media_types": [
                image.manifest["mediaType"],
                *(layer["mediaType"] for layer in image.manifest["layers"] or ()),
            ],
            "annotations": image.manifest.get("annotations", {}),
            "config": _config(image.config),
            "files": _files(image.tree, bases[name], begun),
            **({"layers": [" ".join(names) for names in image.layers[1:]]} if with_layers else {}),
        }
        for name, image in sorted(found.items())
    }


def _config(config: dict[str, Any]) -> dict[str, Any]:
    """The image config with times masked; layers are counted, their digests hold times."""
    masked = {**config, "rootfs": {**config["rootfs"], "diff_ids": len(config["rootfs"]["diff_ids"] or ())}}
    masked.pop("created", None)
    masked["history"] = [
        {key: value for key, value in entry.items() if key != "created"} for entry in config.get("history", [])
    ]
    return masked


def _files(tree: Tree, base: Tree, begun: int) -> dict[str, Any]:
    """What was added or changed, and None for what is gone."""
    changed: dict[str, Any] = {}
    for path in sorted({*tree, *base}):
        entry = tree.get(path)
        if entry is None:
            changed[path] = None
        elif _comparable(entry) != _comparable(base.get(path, {})):
            mtime = NOW if entry["mtime"] >= begun else entry["mtime"]
            changed[path] = {**entry, "mtime": mtime} if entry["type"] != "folder" else _comparable(entry)
    return changed


def _comparable(entry: dict[str, Any]) -> dict[str, Any]:
    """The time of a folder says when something was put into it last, which depends on how a tool works."""
    if entry.get("type") != "folder":
        return entry
    return {key: value for key, value in entry.items() if key != "mtime"}


def text(whole: dict[str, Any]) -> str:
    """The document as JSON with a line for each file."""
    lines: list[str] = []

    def shortened(platform: dict[str, Any]) -> dict[str, Any]:
        files = {}
        for path, entry in platform["files"].items():
            files[path] = f"@{len(lines)}@"
            lines.append(json.dumps(entry, ensure_ascii=False))
        return {**platform, "files": files}

    platforms = {name: shortened(platform) for name, platform in whole["platforms"].items()}
    document = json.dumps({**whole, "platforms": platforms}, indent=1, ensure_ascii=False, sort_keys=True)
    for number, line in enumerate(lines):
        document = document.replace(f'"@{number}@"', line, 1)
    return document + "\n"


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """One line for each place where the two documents differ: `where: ours, not theirs`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for key in sorted({*ours, *theirs})
            for line in differences(ours.get(key, MISSING), theirs.get(key, MISSING), f"{where} › {key}".strip(" ›"))
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [line for at, (one, other) in pairs for line in differences(one, other, f"{where}[{at}]")]
    return [] if ours == theirs else [f"{where}: {ours!r}, not {theirs!r}"]


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()
