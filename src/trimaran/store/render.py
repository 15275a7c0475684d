"""An entry list made into bytes: the layer's tar, or a snapshot folder that overlayfs can stack.

Law: both say exactly what the list says (list → tar → read = list; list → snapshot → read_upper = list). Whoever reads
a file's bytes checks them against the list in the same pass: what changed since is never stored under the old name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from hashlib import sha256

import msgspec

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Conflict, NotFound
from trimaran.linux.paths import open_beneath
from trimaran.store.disk import in_our_words
from trimaran.store.entries import (
    BLOCK,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    HARDLINK,
    NANOSECONDS,
    SYMLINK,
    WHITEOUT,
    Entry,
    EntryList,
    implied,
    order,
)
from trimaran.store.lanes import Lane
from trimaran.store.nodes import OPEN_FOLDER, Nodes
from trimaran.tar import header, whiteouts
from trimaran.tar.writer import Writer

OpenFile = Callable[[Entry], int]
"""Gives a new descriptor with the bytes of a FILE entry; who asked closes it. NotFound when they are gone."""

PIECE = 1 << 20
_TYPES = {
    FILE: header.FILE,
    FOLDER: header.FOLDER,
    SYMLINK: header.SYMLINK,
    HARDLINK: header.HARDLINK,
    CHARACTER: header.CHARACTER,
    BLOCK: header.BLOCK,
    FIFO: header.FIFO,
}


class ContextChanged(Conflict):
    """A file is no longer what it was when it was listed."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"context changed during the build: {path}", hint="build again when nothing writes to the context"
        )
        self.path = path


class Rendered(msgspec.Struct, frozen=True):
    """A layer's tar that was written: `digests` of the files whose content's digest the list did not have."""

    diff_id: Digest
    size: int
    digests: dict[str, Digest]


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot that was written; `digests` as of a tar.

    `skipped` names devices and xattrs this account may not make (see nodes.py).
    """

    digests: dict[str, Digest]
    skipped: tuple[str, ...] = ()


def write_layer(cancel: Cancel, entries: EntryList, open_file: OpenFile, write: Callable[[bytes], object]) -> Rendered:
    """Give the tar to `write` in pieces of about 1 MiB. ContextChanged when a file is not what the list says."""
    hasher = sha256()
    digests: dict[str, Digest] = {}
    with Lane(hasher.update) as hashing:

        def out(piece: bytes) -> None:
            hashing.put(piece)
            write(piece)

        archive = Writer(out)
        for path in entries.opaque:
            archive.add_encoded(_opaque_block(path), 0)
        for entry in entries:
            cancel.check()
            archive.add_encoded(_block(entry), entry.size if entry.kind == FILE else 0)
            if entry.kind == FILE:
                digest = _copy(cancel, entry, open_file, archive.write)
                if not entry.digest:
                    digests[entry.path] = digest
        archive.close()
    return Rendered(Digest("sha256:" + hasher.hexdigest()), archive.offset, digests)


def fill_digests(entries: EntryList, digests: dict[str, Digest]) -> EntryList:
    """The list with the content digests that a rendering found."""
    if not digests:
        return entries
    return EntryList(
        tuple(
            msgspec.structs.replace(entry, digest=digests[entry.path])
            if entry.kind == FILE and not entry.digest and entry.path in digests
            else entry
            for entry in entries
        ),
        entries.opaque,
    )


def _block(entry: Entry) -> bytes:
    if entry.kind == WHITEOUT:
        name = whiteouts.whiteout(entry.path)
        return header.encode_fields(name.encode("utf-8", "surrogateescape"), header.FILE, 0, 0, 0, 0, 0)
    path = entry.path.encode("utf-8", "surrogateescape")
    if entry.kind == FOLDER:
        path = path + b"/" if path else b"./"
    return header.encode_fields(
        path,
        _TYPES[entry.kind],
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size if entry.kind == FILE else 0,
        entry.mtime // NANOSECONDS,
        link=entry.target.encode("utf-8", "surrogateescape"),
        major=entry.major,
        minor=entry.minor,
        xattrs=entry.xattrs,
    )


def _opaque_block(path: str) -> bytes:
    name = f"{path}/{whiteouts.OPAQUE}" if path else whiteouts.OPAQUE
    return header.encode_fields(name.encode("utf-8", "surrogateescape"), header.FILE, 0, 0, 0, 0, 0)


def _copy(cancel: Cancel, entry: Entry, open_file: OpenFile, write: Callable[[bytes], object]) -> Digest:
    """Exactly the listed bytes to `write`."""
    try:
        fd = open_file(entry)
    except NotFound as error:
        raise ContextChanged(entry.path) from error
    hasher = sha256()
    left = entry.size
    try:
        while True:
            asked = min(PIECE, left + 1)  # one more than there should be: a file that grew shows
            data = os.read(fd, asked)
            left -= len(data)
            if left < 0 or (not data and left):
                raise ContextChanged(entry.path)
            cancel.check()
            hasher.update(data)
            if data:
                write(data)
            if not left and len(data) < asked:
                break
    finally:
        os.close(fd)
    digest = Digest("sha256:" + hasher.hexdigest())
    if entry.digest and entry.digest != digest:
        raise ContextChanged(entry.path)
    return digest


def write_snapshot(
    cancel: Cancel, entries: EntryList, open_file: OpenFile, root: int, *, user_xattrs: bool = False
) -> Snapshot:
    """Make the list in the empty folder `root` (a descriptor), ready to be a lower folder of overlayfs.

    Owners are the ids of the caller's user namespace. Implied folders get mode 0755, owner 0:0 and time 0: see
    `snapshots/parents.py`. On an error the folder is left half written, for the caller to remove; Unavailable when the
    disk says no.
    """
    nodes = Nodes(user_xattrs=user_xattrs)
    digests: dict[str, Digest] = {}
    folders = _Folders(root, entries, nodes)
    try:
        for entry in _with_opaque(entries):
            cancel.check()
            if entry.kind == FOLDER:
                folders.enter(entry.path)
                continue
            above, _, name = entry.path.rpartition("/")
            folder = folders.enter(above)
            if entry.kind == FILE:
                fd = nodes.create(folder, name)
                digest = _fill(cancel, nodes, fd, entry, open_file)
                if not entry.digest:
                    digests[entry.path] = digest
            elif entry.kind == HARDLINK:
                _link(nodes, root, entry.target, folder, name)
            else:
                nodes.other(folder, name, entry)
        folders.finish()
    except OSError as error:
        raise in_our_words("write snapshot", error) from error
    finally:
        folders.close()
    return Snapshot(digests, tuple(nodes.skipped))


def _with_opaque(entries: EntryList) -> Iterable[Entry]:
    """The entries, and the opaque folders that are only implied, in tree order."""
    unlisted = [implied(path) for path in entries.opaque if entries.get(path) is None]
    return sorted([*entries, *unlisted], key=lambda entry: order(entry.path)) if unlisted else entries


def _fill(cancel: Cancel, nodes: Nodes, fd: int, entry: Entry, open_file: OpenFile) -> Digest:
    """Content and metadata for a new file; closes `fd`."""
    try:

        def write(data: bytes) -> None:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]

        digest = _copy(cancel, entry, open_file, write)
        nodes.finish(fd, entry)
    finally:
        os.close(fd)
    return digest


def _link(nodes: Nodes, root: int, target: str, folder: int, name: str) -> None:
    above, _, last = target.rpartition("/")
    source = open_beneath(root, above, OPEN_FOLDER)
    try:
        nodes.link(source, last, folder, name)
    finally:
        os.close(source)


class _Folders:
    """The folders from the root to where we write, open. One gets its metadata when it is left: then it is full."""

    __slots__ = ("_entries", "_nodes", "_opaque", "_stack")

    def __init__(self, root: int, entries: EntryList, nodes: Nodes) -> None:
        self._entries = entries
        self._nodes = nodes
        self._opaque = frozenset(entries.opaque)
        self._stack = [("", root)]

    def enter(self, path: str) -> int:
        """The folder `path`, made with those above it that are missing; asked for in tree order."""
        while (top := self._stack[-1])[0] != path:
            if top[0] and not path.startswith(top[0] + "/"):
                self._leave()
                continue
            name = path[len(top[0]) :].removeprefix("/").partition("/")[0]
            below = f"{top[0]}/{name}" if top[0] else name
            self._stack.append((below, self._nodes.folder(top[1], name)))
        return self._stack[-1][1]

    def finish(self) -> None:
        """Leave all folders, the root last."""
        while len(self._stack) > 1:
            self._leave()
        self._describe(*self._stack[0])

    def _leave(self) -> None:
        path, fd = self._stack[-1]
        self._describe(path, fd)
        self._stack.pop()
        os.close(fd)

    def _describe(self, path: str, fd: int) -> None:
        if path in self._opaque:
            self._nodes.opaque(fd)
        self._nodes.finish(fd, self._entries.get(path) or implied(path))

    def close(self) -> None:
        for _, fd in self._stack[1:]:
            os.close(fd)
