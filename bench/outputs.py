"""Are the images that the tools made the same? Their file trees are compared, entry by entry, without times."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from goldens.images import Tree, archive, images, pushed

# What a tool may leave of the places it mounts things on while a step runs.
MOUNT_POINTS = ("dev", "proc", "sys", "run", "etc/hosts", "etc/resolv.conf", "etc/hostname")


class Output(NamedTuple):
    checksum: str  # of all that counts, so that two runs can be compared by a short word
    entries: dict[str, str]  # "platform path" -> what it is


def read(destination: str, *, is_pushed: bool) -> Output:
    with pushed(destination) if is_pushed else archive(Path(destination)) as (opened, descriptor):
        found = images(opened, descriptor)
    entries = {f"{name} {path}": text for name, image in found.items() for path, text in _lines(image.tree)}
    whole = json.dumps(entries, sort_keys=True).encode()
    return Output(hashlib.sha256(whole).hexdigest()[:12], entries)


def _lines(tree: Tree) -> list[tuple[str, str]]:
    kept = ("type", "mode", "owner", "text", "bytes", "sha256", "target", "xattrs", "device")
    return [
        (path, " ".join(str(entry[name]) for name in kept if name in entry))
        for path, entry in tree.items()
        if path not in MOUNT_POINTS
    ]


def difference(ours: Output, theirs: Output) -> str:
    """Empty where both are the same; else how many entries differ, and the first of them."""
    if ours.checksum == theirs.checksum:
        return ""
    names = sorted({*ours.entries, *theirs.entries})
    differing = [name for name in names if ours.entries.get(name) != theirs.entries.get(name)]
    first = differing[0]
    return f"{len(differing)} differ: {first}: {ours.entries.get(first, '-')} / {theirs.entries.get(first, '-')}"
