"""What differs between two images, in lines for people: a tree, with + for new, - for gone and ~ for changed.

Pure.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trimaran.engine.differences import (
    AGAIN,
    HARD_LINK,
    FieldChange,
    FileChange,
    ImageDifference,
    LayerChange,
    PlatformDifference,
)
from trimaran.sizes import decimal_size

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_SHORT = 19
"""Of a digest: sha256: and 12 digits."""
_LONGEST = 60
_MOST_FILES = 200
"""Of one platform: more than anybody reads. JSON has all."""


def lines(difference: ImageDifference) -> Iterator[str]:
    before, after = difference.before, difference.after
    if difference.same and after.name == AGAIN:
        yield f"{before.name} was built again, and is the same bit for bit: {before.digest}"
        return
    if difference.same:
        yield f"{before.name} and {after.name} are the same image: {before.digest}"
        return
    width = max(len(before.name), len(after.name))
    yield f"--- {before.name:<{width}}  {before.digest}"
    yield f"+++ {after.name:<{width}}  {after.digest}"
    yield from _indented(_fields(difference.index), "index")
    yield from (f"- {platform}" for platform in difference.only_before)
    yield from (f"+ {platform}" for platform in difference.only_after)
    for platform in difference.platforms:
        yield platform.platform
        yield from (f"  {line}" for line in _platform(platform))
    told = (difference.index, difference.only_before, difference.only_after, difference.platforms)
    if not any(told):
        yield "the same config, layers and files; the documents are written in another way"


def _platform(difference: PlatformDifference) -> Iterator[str]:
    yield from _indented(_fields(difference.config), "config")
    history = []
    for entry in difference.history:
        history.append(f"{_SIGNS[entry.change]} {entry.number}: {_clipped(entry.created_by)}")
        history += [f"    {line}" for line in _fields(entry.fields)]
    yield from _indented(history, "history")
    yield from _indented(_fields(difference.manifest), "manifest")
    yield from _indented(map(_layer, difference.layers), "layers")
    yield from _indented(_files(difference.files), "files")


def _files(files: Sequence[FileChange]) -> Iterator[str]:
    yield from tree(files[:_MOST_FILES])
    if len(files) > _MOST_FILES:
        counts = Counter(file.change for file in files)
        kinds = ", ".join(f"{count} {change}" for change, count in sorted(counts.items()))
        yield f"  … and {len(files) - _MOST_FILES} more (in all {kinds}): --json tells them"


def _indented(found: Iterable[str], title: str) -> Iterator[str]:
    listed = list(found)
    if listed:
        yield title
        yield from (f"  {line}" for line in listed)


def _fields(fields: Iterable[FieldChange]) -> Iterator[str]:
    for field in fields:
        if field.before is None:
            yield f"+ {field.name}: {_value(field.after)}"
        elif field.after is None:
            yield f"- {field.name}: {_value(field.before)}"
        else:
            yield f"~ {field.name}: {_value(field.before)} → {_value(field.after)}"


def _value(value: Any) -> str:
    import msgspec

    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _clipped(text: str) -> str:
    first = " ".join(text.split())
    return first if len(first) <= _LONGEST else first[: _LONGEST - 1] + "…"


def _layer(layer: LayerChange) -> str:
    before, after = layer.before, layer.after
    if before is None or after is None:
        there = before or after
        assert there is not None
        return f"{_SIGNS[layer.change]} {layer.number}: {there.blob[:_SHORT]} ({decimal_size(there.size, 3)})"
    text = f"~ {layer.number}: {before.blob[:_SHORT]} → {after.blob[:_SHORT]}"
    sizes = f"{decimal_size(before.size, 3)} → {decimal_size(after.size, 3)}"
    return f"{text} ({sizes}{', the same content' if layer.is_repacked else ''})"


def tree(files: Iterable[FileChange]) -> Iterator[str]:
    """Files below their folders; folders that did not change themselves are named without a sign."""
    told: list[str] = []
    for file in files:
        parts = file.path.split("/") if file.path else []
        above = parts[:-1]
        shared = 0
        while shared < min(len(told), len(above)) and told[shared] == above[shared]:
            shared += 1
        for depth in range(shared, len(above)):
            yield "  " * depth + f"  {above[depth]}/"
        told = above if file.kind != "dir" else parts
        name = (parts[-1] if parts else "") + ("/" if file.kind == "dir" else "")
        yield "  " * len(above) + f"{_SIGNS[file.change]} {name}{_changes(file)}"


def _changes(file: FileChange) -> str:
    if file.change != "changed":
        return f"  ({decimal_size(file.size, 3)})" if file.kind == "file" else ""
    words = []
    names = {field.name for field in file.fields}
    for field in file.fields:
        if field.name == "content":
            words += ["content"] if "size" not in names else []
        elif field.name == "size":
            words.append(f"content ({field.before} → {field.after} bytes)")
        elif field.name == "time":
            words.append(f"time {_time(field.before)} → {_time(field.after)}")
        elif field.name == HARD_LINK:
            words += [f"no hard link to {field.before}"] if field.before else []
            words += [f"hard link to {field.after}"] if field.after else []
        else:
            words.append(f"{field.name} {_value(field.before)} → {_value(field.after)}")
    return "  " + ", ".join(words)


def _time(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)
