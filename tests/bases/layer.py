"""Layers with the same bytes whenever and wherever they are made: fixed times, sorted names, no user names."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

EPOCH = 1_700_000_000  # every time stamp in a base image (2023-11-14)
LEVEL = 6


class Layer:
    """A layer in the making: entries are added in any order and written sorted, folders before what they hold."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def folder(self, path: str, mode: int = 0o755) -> None:
        self._add(path, tarfile.DIRTYPE, mode)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._add(path, tarfile.REGTYPE, mode, content=content)

    def symlink(self, path: str, target: str) -> None:
        self._add(path, tarfile.SYMTYPE, 0o777, target=target)

    def hard_link(self, path: str, target: str) -> None:
        self._add(path, tarfile.LNKTYPE, 0o755, target=target)

    def has(self, path: str) -> bool:
        return path in self._entries

    def write(self, path: Path) -> None:
        """Write a gzip-compressed tar to `path`, whole or not at all."""
        # A hard link needs its target earlier in the archive; sorting by name alone would not give that.
        ordered = sorted(self._entries.items(), key=lambda item: (item[1][0].type == tarfile.LNKTYPE, item[0]))
        compress(path, ((entry, io.BytesIO(content)) for _, (entry, content) in ordered))

    def _add(self, path: str, kind: bytes, mode: int, *, content: bytes = b"", target: str = "") -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.mtime, entry.size, entry.linkname = kind, mode, EPOCH, len(content), target
        self._entries[path] = (entry, content)


def compress(path: Path, entries: Iterable[tuple[tarfile.TarInfo, BinaryIO | None]]) -> None:
    """Write entries as a PAX tar, gzip without name and time, to `path`, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as raw, gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for entry, content in entries:
                archive.addfile(entry, content)
    partial.rename(path)


def entries_of(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
    """The entries of an archive with numeric owners and the name form of image layers (no leading ./)."""
    for entry in archive:
        entry.name = entry.name.removeprefix("./")
        if entry.name in ("", "."):
            continue
        if entry.islnk():
            entry.linkname = entry.linkname.removeprefix("./")
        entry.uname = entry.gname = ""
        entry.pax_headers = {key: value for key, value in entry.pax_headers.items() if key.startswith("SCHILY.xattr.")}
        entry.mtime = min(int(entry.mtime), EPOCH)
        yield entry, archive.extractfile(entry) if entry.isreg() else None  # type: ignore[misc]
