"""A layer's tar read into an entry list and, in the same pass, into a snapshot folder when one is wanted.

Law (threats T24, T31 to T34, T37, T38): names are resolved in memory, within what this archive itself has made, and
written below the folder's descriptor with no symlink on the way. Whatever order and nonsense the archive holds, list
and folder say the same: the last entry of a name counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256

import msgspec

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.store.allowance import Allowance
from trimaran.store.disk import in_our_words
from trimaran.store.entries import (
    BLOCK,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    HARDLINK,
    SYMLINK,
    WHITEOUT,
    Entry,
    EntryList,
    order,
)
from trimaran.store.extraction import Extraction
from trimaran.store.holes import WithHoles
from trimaran.store.nodes import WHITEOUTS, Nodes
from trimaran.tar import header as tar
from trimaran.tar import whiteouts
from trimaran.tar.reader import Limits, Reader

PIECE = 1 << 20
MAX_LINKS = 40
MAX_DEPTH = 512
_MAX_PATH = 4096
_MAX_ID = (1 << 32) - 2  # the one above means "leave it" to chown
_MAX_TIME = (1 << 63) - 1
_MAX_XATTRS = 1 << 16
_KINDS = {
    tar.FILE: FILE,
    tar.FOLDER: FOLDER,
    tar.SYMLINK: SYMLINK,
    tar.CHARACTER: CHARACTER,
    tar.BLOCK: BLOCK,
    tar.FIFO: FIFO,
}
_ACLS = frozenset({"system.posix_acl_access", "system.posix_acl_default"})


class Unpacked(msgspec.Struct, frozen=True):
    """`size` of the tar; `skipped` as in nodes.py (nothing when nothing was written)."""

    entries: EntryList
    diff_id: Digest
    size: int
    skipped: tuple[str, ...] = ()


def read_layer(
    cancel: Cancel,
    read: Callable[[int], bytes],
    *,
    extract_to: int | None = None,
    user_xattrs: bool = False,
    limits: Limits | None = None,
) -> Unpacked:
    """The list (digests filled) and the diff id of the uncompressed tar that `read` gives.

    With `extract_to`, an empty folder's descriptor, the snapshot is written too; on an error it is left half written.
    Corrupt for an archive that lies or leaves its folder; Unavailable when the disk says no.
    """
    hasher = sha256()
    size = 0

    def counted(wanted: int) -> bytes:
        nonlocal size
        cancel.check()
        data = read(wanted)
        hasher.update(data)
        size += len(data)
        return data

    limits = limits or Limits()
    target = None if extract_to is None else Extraction(extract_to, Nodes(user_xattrs=user_xattrs))
    layer = _Layer(cancel, target, Allowance(limits))
    try:
        archive = Reader(counted, limits)
        while (header := archive.next()) is not None:
            cancel.check()
            layer.take(header, archive)
        entries = layer.entries()
        if target is not None:
            target.finish(entries)
    except OSError as error:
        raise in_our_words("unpack layer", error) from error
    finally:
        if target is not None:
            target.close()
    while counted(PIECE):
        pass
    skipped = tuple(target.nodes.skipped) if target is not None else ()
    return Unpacked(entries, Digest("sha256:" + hasher.hexdigest()), size, skipped)


class _Found:
    """One node of the layer: an entry without its path, under all the names it has."""

    __slots__ = ("_first", "entry", "names")

    def __init__(self, entry: Entry, name: str) -> None:
        self.entry = entry
        self.names = {name}
        self._first = ""

    @property
    def first(self) -> str:
        """The first name in tree order, once there are no more to come: a file may have a hundred thousand."""
        if not self._first:
            self._first = min(self.names, key=order)
        return self._first


class _Layer:
    """What the archive has made so far, names resolved; written to `target` as it comes."""

    __slots__ = ("_allowance", "_cancel", "_children", "_deleted", "_found", "_opaque", "_target")

    def __init__(self, cancel: Cancel, target: Extraction | None, allowance: Allowance) -> None:
        self._cancel = cancel
        self._target = target
        self._allowance = allowance
        self._found: dict[str, _Found] = {}
        self._children: dict[str, set[str]] = {"": set()}
        self._deleted: set[str] = set()
        self._opaque: set[str] = set()

    def take(self, header: tar.Header, archive: Reader) -> None:
        name = "/".join(_parts(header.name))
        if whiteouts.is_bookkeeping(name):
            return
        if whiteouts.is_opaque(name):
            opaque = self._resolve(name.rpartition("/")[0])
            self._allowance.name(opaque)
            self._opaque.add(opaque)
            return
        deleted = whiteouts.deleted(name)
        if deleted is not None:
            deleted = self._place_of(deleted)
            self._allowance.name(deleted)
            self._deleted.add(deleted)
            return
        path = self._place_of(name)
        if header.type == tar.HARDLINK:
            self._link(path, header)
        elif header.type == tar.FOLDER:
            self._folder(path, _entry(path, header))
        elif not path:
            raise Corrupt(f"read layer: {header.name!r}: the root is no folder")
        elif header.type == tar.FILE:
            self._file(path, _entry(path, header), archive)
        else:
            entry = _entry(path, header)
            self._put(path, _Found(entry, path))
            if self._target is not None:
                self._target.other(path, entry)

    def _folder(self, path: str, entry: Entry) -> None:
        if path in self._children:  # two folders of a name are one, with the metadata that came last
            self._allowance.entry(entry)
            self._found[path] = _Found(entry, path)
            return
        self._put(path, _Found(entry, path))
        self._children[path] = set()
        if self._target is not None:
            self._target.folder(path)

    def _file(self, path: str, entry: Entry, archive: Reader) -> None:
        self._drop(path)
        hasher = sha256()
        fd = self._target.create(path) if self._target is not None else -1
        try:
            file = WithHoles(fd)
            for piece in archive.chunks():
                self._cancel.check()
                hasher.update(piece)
                if fd >= 0:
                    file.write(piece)
            if self._target is not None:
                file.finish()
                self._target.nodes.finish(fd, entry)
        finally:
            if fd >= 0:
                os.close(fd)
        digest = Digest("sha256:" + hasher.hexdigest())
        self._put(path, _Found(msgspec.structs.replace(entry, digest=digest), path))

    def _link(self, path: str, header: tar.Header) -> None:
        target = self._place_of("/".join(_parts(header.link)))
        found = self._found.get(target)
        if target in self._children or found is None:
            raise Corrupt(f"read layer: hard link {header.name!r} to {header.link!r}, which is no file of this layer")
        if target == path:
            return
        if target.startswith(path + "/"):
            raise Corrupt(f"read layer: hard link {header.name!r} would replace the folder its target is in")
        self._allowance.name(path)
        self._keep(path, found)
        found.names.add(path)
        if self._target is not None:
            self._target.link(target, path)

    def _put(self, path: str, found: _Found) -> None:
        self._allowance.entry(found.entry)
        self._keep(path, found)

    def _keep(self, path: str, found: _Found) -> None:
        self._drop(path)
        self._found[path] = found
        self._register(path)

    def _register(self, path: str) -> None:
        """Make `path` known to the folders above it: those that nobody listed are implied."""
        while path:
            above, _, name = path.rpartition("/")
            names = self._children.get(above)
            if names is not None:
                names.add(name)
                return
            self._allowance.name(above)
            self._children[above] = {name}
            path = above

    def _drop(self, path: str) -> None:
        """Forget `path` and all in it: something else of that name has come."""
        if path not in self._found and path not in self._children:
            return
        if not path:
            raise Corrupt("read layer: the root is replaced by something that is no folder")
        pending = [path]
        while pending:
            gone = pending.pop()
            found = self._found.pop(gone, None)
            if found is not None:
                found.names.discard(gone)
            pending.extend(f"{gone}/{name}" for name in self._children.pop(gone, ()))
        above, _, name = path.rpartition("/")
        self._children[above].discard(name)
        if self._target is not None:
            self._target.remove(path)

    def _place_of(self, path: str) -> str:
        """`path` with its folder resolved; the last name as it is (never followed)."""
        above, _, name = path.rpartition("/")
        if not above:
            return name
        folder = self._resolve(above)
        return f"{folder}/{name}" if folder else name

    def _resolve(self, path: str) -> str:
        """A folder's path through the symlinks that this archive made; it stays in the root. Missing is fine."""
        if path in self._children or not path:
            return path
        pending = path.split("/")[::-1]
        done: list[str] = []  # each with those before it: "a", "a/b", …
        links = steps = 0
        while pending:
            steps += 1
            part = pending.pop()
            if part == "..":
                if done:
                    done.pop()
                continue
            here = f"{done[-1]}/{part}" if done else part
            found = self._found.get(here)
            if found is None or found.entry.kind == FOLDER:
                done.append(here)
                continue
            links += 1
            if found.entry.kind != SYMLINK or links > MAX_LINKS:
                raise Corrupt(f"read layer: {path!r}: {here!r} on the way is no folder")
            if found.entry.target.startswith("/"):
                done.clear()
            pending.extend([part for part in found.entry.target.split("/") if part not in {"", "."}][::-1])
            if len(pending) > MAX_DEPTH:
                raise Corrupt(f"read layer: {path!r}: too deep")
        self._allowance.walk(path, steps)
        resolved = done[-1] if done else ""
        if len(done) > MAX_DEPTH or len(resolved.encode("utf-8", "surrogateescape")) > _MAX_PATH - 256:
            raise Corrupt(f"read layer: {path[:80]!r}…: too deep")
        return resolved

    def entries(self) -> EntryList:
        listed: list[Entry] = []
        for path, found in self._found.items():
            first = path if len(found.names) == 1 else found.first
            if path == first or found.entry.kind != FILE:
                listed.append(msgspec.structs.replace(found.entry, path=path))
            else:
                listed.append(Entry(path, HARDLINK, target=first))
        opaque = {path for path in self._opaque if not self._is_covered(path)}
        for path in self._deleted:
            if self._is_covered(path):
                continue
            if path in self._children:  # deleted and made anew: nothing of the old one shows through
                opaque.add(path)
            elif path not in self._found:
                listed.append(Entry(path, WHITEOUT))
        return EntryList.of(listed, [path for path in opaque if path not in self._deleted or path in self._children])

    def _is_covered(self, path: str) -> bool:
        """Whether what is above `path` hides it anyway: deleted, or no folder (any more)."""
        found = self._found.get(path)
        if found is not None and found.entry.kind != FOLDER:
            return True
        while path:
            path = path.rpartition("/")[0]
            if path and path in self._deleted:
                return True
            found = self._found.get(path)
            if found is not None and found.entry.kind != FOLDER:
                return True
        return False


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise Corrupt(f"read layer: {name!r} leads out of its folder")
    if len(parts) > MAX_DEPTH:
        raise Corrupt(f"read layer: {name[:80]!r}…: too deep")
    return parts


def _entry(path: str, header: tar.Header) -> Entry:
    kind = _KINDS[header.type]
    if not (0 <= header.uid <= _MAX_ID and 0 <= header.gid <= _MAX_ID):
        raise Corrupt(f"read layer: {header.name!r}: no such owner as {header.uid}:{header.gid}")
    device = kind in {CHARACTER, BLOCK}
    numbers = (header.major, header.minor)
    if device and (header.major > 0xFFF or header.minor > 0xFFFFF or numbers in WHITEOUTS):
        raise Corrupt(f"read layer: {header.name!r}: no such device as {header.major}:{header.minor}")
    if kind == SYMLINK and not 0 < len(header.link) < _MAX_PATH:
        raise Corrupt(f"read layer: {header.name!r}: a symlink of {len(header.link)} characters")
    return Entry(
        path,
        kind,
        header.mode,
        header.uid,
        header.gid,
        header.mtime if -_MAX_TIME <= header.mtime <= _MAX_TIME else 0,  # as containerd bounds times
        header.size,
        header.link if kind == SYMLINK else "",
        header.major if device else 0,
        header.minor if device else 0,
        _kept(header) if kind in {FILE, FOLDER} else (),
    )


def _kept(header: tar.Header) -> tuple[tuple[str, bytes], ...]:
    """The xattrs a layer may set: never those by which overlayfs or a security module is steered."""
    if not header.xattrs:
        return ()
    if sum(len(name) + len(value) for name, value in header.xattrs) > _MAX_XATTRS:
        raise Corrupt(f"read layer: {header.name!r}: its extended attributes are more than 64 KiB")
    return tuple(
        (name, value)
        for name, value in header.xattrs
        if name == "security.capability"
        or name in _ACLS
        or (name.startswith("user.") and not name.startswith("user.overlay."))
    )
