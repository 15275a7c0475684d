"""How a layer archive says "deleted": names of empty files (OCI image-spec, layer.md, "Whiteouts")."""

from __future__ import annotations

from trimaran.errors import Corrupt

PREFIX = ".wh."
OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."
"""Bookkeeping of a file system of old: such entries mean nothing."""


def whiteout(path: str) -> str:
    """The archive name that deletes `path`."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{PREFIX}{name}"


def deleted(path: str) -> str | None:
    """The path that the entry `path` deletes, or None when it deletes nothing; Corrupt for `.wh.`, `.wh..`, `.wh...`.

    Opaque markers and aufs bookkeeping are to be sorted out before (`is_opaque`, `is_bookkeeping`).
    """
    folder, slash, name = path.rpartition("/")
    if PREFIX in path and any(part.startswith(PREFIX) for part in folder.split("/")):
        raise Corrupt(f"read layer: {path!r}: a whiteout has nothing in it")
    if not name.startswith(PREFIX):
        return None
    name = name[len(PREFIX) :]
    if name in {"", ".", ".."}:
        raise Corrupt(f"read layer: {path!r} deletes no name")
    return f"{folder}{slash}{name}"


def is_opaque(path: str) -> bool:
    """Whether the entry hides all that lower layers have in its folder."""
    return path.rpartition("/")[2] == OPAQUE


def is_bookkeeping(path: str) -> bool:
    return any(part.startswith(_AUFS) and part != OPAQUE for part in path.split("/"))
