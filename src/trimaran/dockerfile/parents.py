"""`COPY --parents`: a source's own folders are kept, from the root or from the pivot `/./` on (reference §3.5)."""

from __future__ import annotations

import msgspec

from trimaran.dockerfile import paths


class Kept(msgspec.Struct, frozen=True):
    """What a source means: `folder` is copied, of it what matches `include`; `required` has to be there."""

    folder: str
    include: tuple[str, ...]
    required: tuple[str, ...]


def with_parents(source: str) -> Kept:
    folder, pivot, kept = source.partition("/./")
    if not pivot:
        folder, kept = "/", source
    pattern = paths.from_context(kept)[1:]
    plain = not _has_wildcard(folder) and not _has_wildcard(pattern)
    required = (paths.from_context(f"{folder}/{pattern}"),) if plain else ()
    return Kept(paths.from_context(folder), (pattern,) if pattern else (), required)


def read_path(source: str) -> str:
    """What of the source's root is read: `**` goes through folders of any depth."""
    path = paths.from_context(source)
    parts = path.split("/")
    deep = next((index for index, part in enumerate(parts) if "**" in part), len(parts))
    return "/".join(parts[:deep]) or "/"


def _has_wildcard(path: str) -> bool:
    escaped = False
    for character in path:
        if not escaped and character in "*?[":
            return True
        escaped = not escaped and character == "\\"
    return False
