"""A layer's entry list: what it changes, path by path. Everything else about a layer is rendered from it.

Law: paths are relative to the root, without leading or trailing "/" ("" is the root itself), in tree order (a folder
right before what is in it, names compared as bytes). Bytes that are no UTF-8 are held by surrogateescape. Parents may
be left out (*implied*): a layer says nothing about the metadata of a folder it does not list.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any, Protocol

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Corrupt

FILE = "file"
FOLDER = "dir"
SYMLINK = "symlink"
HARDLINK = "hardlink"
CHARACTER = "char"
BLOCK = "block"
FIFO = "fifo"
WHITEOUT = "whiteout"

_COMMON = frozenset({FILE, FOLDER, SYMLINK})

NANOSECONDS = 1_000_000_000
ROOT_MODE = 0o755
"""Mode of a folder that no layer lists (owner 0:0, time 0)."""


_PIECE = 1000
"""Entries that are encoded at once."""
_TRIED = 100
"""Times of making that are tried at most."""
_ENCODER = msgspec.msgpack.Encoder(enc_hook=str)  # a Digest is a str, which msgspec wants said


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


def order(path: str) -> bytes:
    """The sort key of tree order: NUL is in no name, so a folder's content follows it at once."""
    return path.encode("utf-8", "surrogateescape").replace(b"/", b"\0")


def parent(path: str) -> str:
    """The folder `path` is in; "" for names in the root and for the root."""
    return path.rpartition("/")[0]


def implied(path: str) -> Entry:
    """The folder that is at `path` when no layer lists it but something is in it."""
    return Entry(path, FOLDER, ROOT_MODE)


def is_plain(folder: Entry) -> bool:
    """Whether any unpacker would make this folder as it is (but for its time) if no layer listed it."""
    return folder.mode == ROOT_MODE and not folder.uid and not folder.gid and not folder.xattrs


class EntryList:
    """Entries in tree order, every path once, nothing below what is no folder. Frozen; equal by content.

    `opaque` names folders that hide all that lower layers have in them (pulled layers only: commits list whiteouts).
    """

    __slots__ = ("_by_path", "_children", "_complete", "_content_digest", "_digest", "entries", "opaque")

    entries: tuple[Entry, ...]
    opaque: tuple[str, ...]

    def __init__(self, entries: tuple[Entry, ...], opaque: tuple[str, ...] = ()) -> None:
        """Trusts its arguments: `of` is for lists nobody checked yet."""
        self.entries = entries
        self.opaque = opaque
        self._by_path: dict[str, Entry] | None = None
        self._children: dict[str, list[str]] | None = None
        self._complete: bool | None = None
        self._digest: Digest | None = None
        self._content_digest: Digest | None = None

    @classmethod
    def of(cls, entries: Iterable[Entry], opaque: Iterable[str] = ()) -> EntryList:
        """Sort, check and normalise; Corrupt when the list breaks the law, Unsupported for names an image can't hold.

        What has no meaning is dropped (a whiteout's and symlink's mode, times of a whiteout); a hard link gets the
        metadata of its file, which must be listed before it.
        """
        from trimaran.store.entry_law import checked

        return cls(*checked(entries, opaque))

    @classmethod
    def walked(cls, entries: Sequence[Entry]) -> EntryList:
        """What a walk of a real folder gives is in tree order and has clean names; `of` checks what else may be odd."""
        if all(entry.kind in _COMMON and ".wh." not in entry.path for entry in entries):
            return cls(tuple(entries))
        return cls.of(entries)

    @property
    def digest(self) -> Digest:
        """Names all that reaches the blob, mtime in whole seconds; ValueError while a content digest misses."""
        self._digest = self._digest or self.digest_of()
        return self._digest

    @property
    def content_digest(self) -> Digest:
        """As `digest` but without mtime: for adoption, and for keys of steps that read files."""
        self._content_digest = self._content_digest or self.digest_of(times=False)
        return self._content_digest

    def digest_of(self, *, times: bool = True, made: int = -1, undated: int | None = None) -> Digest:
        """With `made` (ns) the time of entries that have just that, since making them dated them, does not count.

        It is no time then, `undated`, rather than any: a list that says 1970 for the same files is another layer.
        """
        hasher = sha256(b"\x93")  # an array of three, the last one written in pieces
        hasher.update(_ENCODER.encode("trimaran.layer.1" if times else "trimaran.content.1"))
        hasher.update(_ENCODER.encode([_escape(path) for path in self.opaque]))
        hasher.update(_array_head(len(self.entries)))
        for start in range(0, len(self.entries), _PIECE):
            rows = []
            for e in self.entries[start : start + _PIECE]:
                if e.kind == FILE and not e.digest:
                    raise ValueError(f"{e.path!r} has no content digest yet")
                mtime = (e.mtime // NANOSECONDS if e.mtime != made else undated) if times else 0
                rows.append(
                    (
                        e.path,
                        e.kind,
                        e.mode,
                        e.uid,
                        e.gid,
                        mtime,
                        e.size,
                        e.target,
                        e.major,
                        e.minor,
                        e.xattrs,
                        e.digest,
                    )
                )
            hasher.update(memoryview(_encoded(rows))[len(_array_head(len(rows))) :])
        return Digest.of_hash(hasher)

    def may_be(self, name: str) -> bool:
        """Whether a layer of this list may have this name, whatever time its making was at (see `digest_of`).

        Making dates what it makes by the moment it began, so the latest times are tried; when there are too many, yes.
        Layers of older stores have the name in which such a time is 1970.
        """
        if self.digest == name:
            return True
        times = sorted({entry.mtime for entry in self.entries}, reverse=True)
        return len(times) > _TRIED or any(
            self.digest_of(made=time, undated=undated) == name for time in times for undated in (None, 0)
        )

    def encode(self) -> bytes:
        """Compact bytes for the database: `decode` gives the same list back."""
        try:
            data = _ENCODER.encode((1, False, self.opaque, self.entries))
        except UnicodeEncodeError:
            opaque = tuple(_escape(path) for path in self.opaque)
            data = _ENCODER.encode((1, True, opaque, [_recode(e, _escape) for e in self.entries]))
        return zlib.compress(data, 1)

    @classmethod
    def decode(cls, data: bytes) -> EntryList:
        """Corrupt when `data` is not what `encode` wrote."""
        try:
            _, escaped, opaque, entries = msgspec.msgpack.decode(
                zlib.decompress(data), type=tuple[int, bool, tuple[str, ...], tuple[Entry, ...]]
            )
        except (zlib.error, msgspec.MsgspecError) as error:
            raise Corrupt(f"decode entry list: {error}") from error
        if escaped:
            opaque = tuple(_unescape(path) for path in opaque)
            entries = tuple(_recode(entry, _unescape) for entry in entries)
        return cls(entries, opaque)

    def get(self, path: str) -> Entry | None:
        """What this layer itself lists at `path` (a WHITEOUT too)."""
        if self._by_path is None:
            self._by_path = {entry.path: entry for entry in self.entries}
        return self._by_path.get(path)

    @property
    def root(self) -> Entry | None:
        """What it lists at "", which is the first in tree order: no index is made for this."""
        return self.entries[0] if self.entries and not self.entries[0].path else None

    def folders(self) -> set[str]:
        """Every folder in which it lists something, and those above, however they come to be."""
        found: set[str] = set()
        for path in chain((entry.path for entry in self.entries), self.opaque):
            while path and (path := path.rpartition("/")[0]) not in found:
                found.add(path)
        return found

    @property
    def children(self) -> Mapping[str, list[str]]:
        """Folder → names in it, in order, for every folder in which this layer lists or implies something.

        Whiteouts are among the names. An opaque folder is a key even when nothing is in it.
        """
        if self._children is None:
            self._children = self._index()
        return self._children

    def below(self, path: str) -> Sequence[Entry] | None:
        """All listed below a folder, in tree order; None when a root of this list alone would look different there.

        That is so where the list has folders that are only implied, whiteouts, or hard links.
        """
        if self._complete is None:
            self._complete = not self.opaque and _is_complete(self.entries)
        if not self._complete:
            return None
        if not path:
            return self.entries[1:] if self.entries and not self.entries[0].path else self.entries
        first = order(path)
        start = bisect_right(self.entries, first, key=_order)
        return self.entries[start : bisect_left(self.entries, first + b"\1", start, key=_order)]

    def _index(self) -> dict[str, list[str]]:
        self.get("")
        children: dict[str, list[str]] = {}
        for entry in self.entries:
            path = entry.path
            while path:
                folder, _, name = path.rpartition("/")
                names = children.get(folder)
                if names is not None:
                    if names[-1] != name:
                        names.append(name)
                    break
                children[folder] = [name]
                path = folder
        more: dict[str, set[str]] = {}
        for opaque in self.opaque:
            children.setdefault(opaque, [])
            path = opaque
            while path and path not in more.get(parent(path), ()):
                more.setdefault(parent(path), set()).add(path)
                path = parent(path)
        for folder, paths in more.items():
            hiding = {path.rpartition("/")[2] for path in paths}
            children[folder] = sorted(hiding.union(children.get(folder, ())), key=order)
        return children

    def not_later(self, time: int) -> EntryList:
        """The same change with no mtime later than `time` (ns); this very list when it has none."""
        if all(e.mtime <= time for e in self.entries):
            return self
        made = (e if e.mtime <= time else msgspec.structs.replace(e, mtime=time) for e in self.entries)
        return EntryList(tuple(made), self.opaque)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntryList) and self.entries == other.entries and self.opaque == other.opaque

    def __hash__(self) -> int:
        return hash((self.entries, self.opaque))

    def __repr__(self) -> str:
        return f"EntryList({list(self.entries)!r}, opaque={self.opaque!r})"


EMPTY = EntryList(())


def _encoded(rows: list[tuple[Any, ...]]) -> bytes:
    try:
        return _ENCODER.encode(rows)
    except UnicodeEncodeError:
        return _ENCODER.encode(
            [(_escape(r[0]), *r[1:7], _escape(r[7]), *r[8:10], _escape_names(r[10]), r[11]) for r in rows]
        )


def _array_head(count: int) -> bytes:
    """How msgpack begins an array (its specification, "Array format family")."""
    if count < 16:
        return bytes([0x90 | count])
    return struct.pack(">BH", 0xDC, count) if count < 1 << 16 else struct.pack(">BI", 0xDD, count)


def _order(entry: Entry) -> bytes:
    return order(entry.path)


def _is_complete(entries: Iterable[Entry]) -> bool:
    folders = {""}
    for entry in entries:
        path = entry.path
        if entry.kind not in _COMMON or path.rpartition("/")[0] not in folders:
            return False
        if entry.kind == FOLDER:
            folders.add(path)
    return True


def _escape(text: str) -> str:
    """Text msgpack can hold: NUL is in no path, so it marks bytes written as Latin-1."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "\0" + text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def _unescape(text: str) -> str:
    if text.startswith("\0"):
        return text[1:].encode("latin-1").decode("utf-8", "surrogateescape")
    return text


def _escape_names(xattrs: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
    return tuple((_escape(name), value) for name, value in xattrs)


def _recode(entry: Entry, change: _Change) -> Entry:
    return msgspec.structs.replace(
        entry,
        path=change(entry.path),
        target=change(entry.target),
        xattrs=tuple((change(name), value) for name, value in entry.xattrs),
    )


class _Change(Protocol):
    def __call__(self, text: str, /) -> str: ...
