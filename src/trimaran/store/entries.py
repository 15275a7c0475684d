"""A layer's entry list: what it changes, path by path. Everything else about a layer is rendered from it.

Law: paths are relative to the root, without leading or trailing "/" ("" is the root itself), in tree order (a folder
right before what is in it, names compared as bytes). Bytes that are no UTF-8 are held by surrogateescape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

FILE = "file"
FOLDER = "dir"
SYMLINK = "symlink"
HARDLINK = "hardlink"
CHARACTER = "char"
BLOCK = "block"
FIFO = "fifo"
WHITEOUT = "whiteout"


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One path of a layer. `mtime` in nanoseconds; `digest` of a file's content, "" while nobody asked for it."""

    path: str
    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: str = ""
    """A symlink's text as it is; a hard link's first name, a path of the same layer."""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    digest: str = ""


class Origin(Protocol):
    """Where the bytes of one file of a not yet stored layer are."""

    def open(self) -> int:
        """A new read-only file descriptor; the caller closes it. NotFound when the file went away."""
        ...


Origins = Mapping[str, Origin]
"""Path of the layer → origin; for the FILE entries of a layer that is neither snapshot nor blob yet."""
