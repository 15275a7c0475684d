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
from trimaran.steps.copy import NEW_FOLDER_MODE
from trimaran.steps.draft import Draft
from trimaran.store.ceiling import Ceiling
from trimaran.store.decompression import decompress
from trimaran.store.entries import FILE, FOLDER, HARDLINK, WHITEOUT, EntryList, Origin
from trimaran.store.folder import Folder, FolderFile
from trimaran.store.holes import with_room
from trimaran.store.unpack import read_layer
from trimaran.tar.header import BLOCK_SIZE, is_header


class Unpacked(msgspec.Struct, frozen=True):
    """An archive's entries, and the folder its files lie in until the build ends."""

    entries: EntryList
    folder: Folder

    def place(self, draft: Draft, destination: str, *, owner: tuple[int, int] | None, now: int) -> None:
        """Everything below `destination`; folders that are there keep their metadata where the archive is silent.

        Links that are on the way already are followed as if `destination` were the root, as BuildKit does. Folders that
        the archive only names as part of a path are made as of root's, with the mtime `now` (ns).
        """
        for entry in self.entries:
            if entry.kind == WHITEOUT or not entry.path:
                continue
            path = draft.resolve(entry.path, follow_last=False, root=destination)
            present = draft.get(path)
            if present is not None and (present.kind == FOLDER) != (entry.kind == FOLDER):
                draft.remove(path)
            draft.make_folders(path.rpartition("/")[0], mode=NEW_FOLDER_MODE, uid=0, gid=0, mtime=now)
            uid, gid = owner or (entry.uid, entry.gid)
            target = entry.target
            if entry.kind == HARDLINK:
                target = draft.resolve(target, follow_last=False, root=destination)
            origin = FolderFile(self.folder, entry.path) if entry.kind == FILE else None
            draft.put(msgspec.structs.replace(entry, path=path, uid=uid, gid=gid, target=target), origin)


async def unpack_archive(context: StepContext, origin: Origin) -> Unpacked | None:
    """The archive's content, or None when the bytes are no archive (then the file is copied as it is)."""
    folder = context.store.snapshots.folders.temporary()
    entries = await aio.in_thread(_unpack, origin, folder, context.store.content.ceiling)
    return None if entries is None else Unpacked(entries, Folder(folder))


def _unpack(cancel: aio.Cancel, origin: Origin, folder: str, ceiling: Ceiling) -> EntryList | None:
    fd = origin.open()
    try:
        with os.fdopen(fd, "rb", buffering=1 << 16, closefd=False) as file:
            if not _is_archive(file.read):
                return None
        os.lseek(fd, 0, os.SEEK_SET)
        with os.fdopen(fd, "rb", buffering=1 << 20, closefd=False) as file:
            content = decompress(file.read, layer=False)
            read = with_room(content, lambda size: ceiling.ask(cancel, size, "unpack archive"))
            target = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return read_layer(cancel, read, extract_to=target).entries
            finally:
                os.close(target)
    finally:
        os.close(fd)


def _is_archive(read: Callable[[int], bytes]) -> bool:
    """Whether the content begins with a tar header; what only begins as if it were compressed is no archive."""
    content = decompress(read, layer=False)
    block = b""
    try:
        while len(block) < BLOCK_SIZE and (data := content(BLOCK_SIZE - len(block))):
            block += data
    except Corrupt:
        return False
    return is_header(block)
