"""ADD of a local archive: recognised by its bytes, unpacked beside the store, then placed like a copy.

Law: an archive is hostile until unpacked. It is extracted by the layer reader (limits, no path leaves the folder) into
a temporary folder of this build, never into the draft's tree directly.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from trimaran import aio
from trimaran.errors import Corrupt
from trimaran.steps.context import StepContext
from trimaran.steps.draft import Draft
from trimaran.store.decompression import decompress
from trimaran.store.entries import FILE, FOLDER, HARDLINK, WHITEOUT, EntryList, Origin
from trimaran.store.folder import Folder, FolderFile
from trimaran.store.unpack import read_layer

NEW_FOLDER_MODE = 0o755
_BLOCK = 512


class Unpacked(msgspec.Struct, frozen=True):
    """An archive's entries, and the folder its files lie in until the build ends."""

    entries: EntryList
    folder: Folder

    def place(self, draft: Draft, destination: str, *, owner: tuple[int, int] | None, now: int) -> None:
        """Everything below `destination`; folders that are there keep their metadata where the archive is silent.

        Folders that the archive only names as part of a path are made as of root's, with the mtime `now` (ns).
        """
        for entry in self.entries:
            if entry.kind == WHITEOUT or not entry.path:
                continue
            path = draft.resolve(f"{destination}/{entry.path}", follow_last=False)
            present = draft.get(path)
            if present is not None and (present.kind == FOLDER) != (entry.kind == FOLDER):
                draft.remove(path)
            draft.make_folders(path.rpartition("/")[0], mode=NEW_FOLDER_MODE, uid=0, gid=0, mtime=now)
            uid, gid = owner or (entry.uid, entry.gid)
            target = f"{destination}/{entry.target}".lstrip("/") if entry.kind == HARDLINK else entry.target
            origin = FolderFile(self.folder, entry.path) if entry.kind == FILE else None
            draft.put(msgspec.structs.replace(entry, path=path, uid=uid, gid=gid, target=target), origin)


async def unpack_archive(context: StepContext, origin: Origin) -> Unpacked | None:
    """The archive's content, or None when the bytes are no archive (then the file is copied as it is)."""
    folder = context.store.snapshots.folders.temporary()
    entries = await aio.in_thread(_unpack, origin, folder)
    return None if entries is None else Unpacked(entries, Folder(folder))


def _unpack(cancel: aio.Cancel, origin: Origin, folder: str) -> EntryList | None:
    fd = origin.open()
    try:
        with os.fdopen(fd, "rb", buffering=1 << 16, closefd=False) as file:
            read = _decompressed(file.read)
            if read is None or not _is_tar(read):
                return None
        os.lseek(fd, 0, os.SEEK_SET)
        with os.fdopen(fd, "rb", buffering=1 << 20, closefd=False) as file:
            read = _decompressed(file.read)
            assert read is not None
            target = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return read_layer(cancel, read, extract_to=target).entries
            finally:
                os.close(target)
    finally:
        os.close(fd)


def _decompressed(read: Callable[[int], bytes]) -> Callable[[int], bytes] | None:
    """A reader of the plain bytes; None when a compressed start is broken, so that the file is no archive."""
    import bz2
    import lzma

    start = read(6)

    def from_start(size: int) -> bytes:
        nonlocal start
        if start:
            data, start = start[:size], start[size:]
            return data
        return read(size)

    if start.startswith(b"BZh"):
        return _incremental(bz2.BZ2Decompressor(), from_start)
    if start == b"\xfd7zXZ\x00":
        return _incremental(lzma.LZMADecompressor(memlimit=256 << 20), from_start)
    try:
        return decompress(from_start)
    except Corrupt:
        return None


def _incremental(decompressor: object, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Bounded output per call, so that a bomb fills no memory."""
    engine: _Decompressor = decompressor  # type: ignore[assignment]

    def more(size: int) -> bytes:
        while not engine.eof:
            data = read(1 << 16) if engine.needs_input else b""
            if engine.needs_input and not data:
                raise Corrupt("unpack archive: it ends in the middle")
            try:
                out = engine.decompress(data, size)
            except (OSError, ValueError, EOFError) as error:
                raise Corrupt(f"unpack archive: {error}") from error
            if out:
                return out
        return b""

    return more


def _is_tar(read: Callable[[int], bytes]) -> bool:
    """Whether the first block is a tar header: its checksum says so."""
    block = b""
    try:
        while len(block) < _BLOCK and (data := read(_BLOCK - len(block))):
            block += data
    except Corrupt:
        return False
    if len(block) < _BLOCK:
        return False
    try:
        stated = int(block[148:156].strip(b"\0 ") or b"0", 8)
    except ValueError:
        return False
    return stated == sum(block[:148]) + 8 * 32 + sum(block[156:])


class _Decompressor:
    """What bz2's and lzma's decompressors share."""

    eof: bool
    needs_input: bool

    def decompress(self, data: bytes, max_length: int) -> bytes:
        raise NotImplementedError
