"""An image config made whole: the frontend's, with diff ids, times, and a history that fits the layers.

Pure. The rules are BuildKit's (exporter/containerimage, `patchImageConfig` and `normalizeLayersAndHistory`), so that
the same build twice, or here and there, gives the same document.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.oci import documents


class ExportLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of the stack; `created` in ns since the epoch. One without files is a layer like any other."""

    diff_id: Digest
    created: int
    description: str = ""


def complete_config(raw: bytes, layers: tuple[ExportLayer, ...], *, epoch: int | None = None) -> bytes:
    """The config document. `epoch` (seconds): no time of history or config is later, base entries keep theirs."""
    config = documents.check(raw, "image config", limit=documents.CONFIG_LIMIT)
    history = _history(config.get("history"), layers, epoch)
    diff_ids = [str(layer.diff_id) for layer in layers]
    config["rootfs"] = {"type": "layers", "diff_ids": diff_ids or None}
    config["history"] = [_history_fields(entry) for entry in history]
    if "created" not in config or epoch is not None:
        times = [entry["created"] for entry in history if entry.get("created")]
        config["created"] = times[-1] if times else None
    return documents.encode({name: config[name] for name in sorted(config)})


def _history(value: Any, layers: tuple[ExportLayer, ...], epoch: int | None) -> list[dict[str, Any]]:
    if value is not None and not (isinstance(value, list) and all(isinstance(entry, dict) for entry in value)):
        raise Corrupt("read image config: history is no list of objects")
    history = [dict(entry) for entry in value or ()]
    filled = [entry for entry in history if not entry.get("empty_layer")]
    for extra in filled[len(layers) :]:
        extra["empty_layer"] = True
    history.extend(
        {"created_by": layer.description, "comment": "buildkit.exporter.image.v0"} for layer in layers[len(filled) :]
    )
    remaining = iter(layers)
    for entry in history:
        if not entry.get("empty_layer"):
            layer = next(remaining)
            if not entry.get("created"):
                entry["created"] = documents.go_time(_clamped(layer.created, epoch))
    _fill_times(history)
    return history


def _fill_times(history: list[dict[str, Any]]) -> None:
    """Entries without a time take that of the first new layer, or of the entry before."""
    current: Any = None
    missing = False
    for entry in history:
        if entry.get("created"):
            current = entry["created"]
            if missing:
                break
        else:
            missing = True
    missing = False
    for entry in history:
        if entry.get("created"):
            if missing:
                current = entry["created"]
        elif current is not None:
            missing = True
            entry["created"] = current


def _history_fields(entry: dict[str, Any]) -> dict[str, Any]:
    """In the order of image-spec's Go struct, empty ones left out."""
    names = ("created", "created_by", "author", "comment", "empty_layer")
    return {name: entry[name] for name in names if entry.get(name)}


def _clamped(time: int, epoch: int | None) -> int:
    return time if epoch is None else min(time, epoch * 1_000_000_000)
