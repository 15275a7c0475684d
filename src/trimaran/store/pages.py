"""Entry lists in pages: lists that differ in one file share all pages but that file's, so the next costs kilobytes.

Pure. Where a page ends is decided by the paths alone (content-defined chunking): a change moves no other page's bounds.
Pages of ids stand above pages of entries until one is left, the *top*; a page is named by a
digest of its bytes, so equal pages are one row, and two tops are compared by reading only what they do not share.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from trimaran.store.entries import Entry, EntryList, order

SHORT = 128
"""Entries of a list that is one page."""
_AVERAGE = 64
_LONGEST = 256
_FEW = 8
"""Pages that are read to count what differs."""
_ID = 16
_OF_IDS = b"\1"
"""How a page of ids begins; a page of entries is a zlib stream, which begins with 0x78."""

T = TypeVar("T")
Read = Callable[[Collection[bytes]], Mapping[bytes, bytes]]
"""Bodies of pages by id; those that are gone are left out."""


class Paged(msgspec.Struct, frozen=True):
    """A list as pages: all but the top, whose own bytes are `top` (to be kept wherever the list is named)."""

    top: bytes
    pages: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def all(self) -> tuple[tuple[bytes, bytes], ...]:
        """The top too, as a page like the others."""
        return (*self.pages, (page_id(self.top), self.top))


Change = tuple[Entry | None, Entry | None]
"""One path before and after; None: it was, or is, not there."""


def page_id(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_ID]


def paged(entries: EntryList) -> Paged:
    """`joined` gives the same list back. An opaque list is one page: only pulled layers have such, and are short."""
    if len(entries) <= SHORT or entries.opaque:
        return Paged(entries.encode())
    pages: list[tuple[bytes, bytes]] = []
    ids = []
    for some in _split(entries.entries, _ends_after):
        body = EntryList(tuple(some)).encode()
        ids.append(page_id(body))
        pages.append((ids[-1], body))
    while len(ids) > SHORT:
        above = []
        for group in _split(ids, _ends_after_id):
            body = _OF_IDS + b"".join(group)
            above.append(page_id(body))
            pages.append((above[-1], body))
        ids = above
    return Paged(_OF_IDS + b"".join(ids), tuple(pages))


def joined(top: bytes, read: Read) -> EntryList | None:
    """The list; None when pages of it are gone, Corrupt when they are not what was written."""
    if not _is_of_ids(top):
        return EntryList.decode(top)
    leaves = _leaves(top, read)
    bodies = read(leaves) if leaves is not None else {}
    if leaves is None or any(leaf not in bodies for leaf in leaves):
        return None
    return EntryList(tuple(entry for leaf in leaves for entry in EntryList.decode(bodies[leaf])))


def difference(before: bytes, after: bytes, read: Read) -> list[Change] | None:
    """What two lists (given by their tops) do not share, in tree order; None when that cannot be told any more.

    Reads only the pages that one of them has and the other has not.
    """
    tops = {page_id(before): before, page_id(after): after}
    old, new = _leaves_of(before, read), _leaves_of(after, read)
    if old is None or new is None:
        return None
    only_old, only_new = set(old) - set(new), set(new) - set(old)
    bodies = {**read(only_old | only_new), **tops}
    if any(each not in bodies for each in only_old | only_new):
        return None
    was, now = _by_path(only_old, bodies), _by_path(only_new, bodies)
    changed = [path for path in was.keys() | now.keys() if was.get(path) != now.get(path)]
    return [(was.get(path), now.get(path)) for path in sorted(changed, key=order)]


def apart(before: bytes, after: bytes, read: Read) -> int:
    """About how many entries differ, told by pages of ids where that is many."""
    old, new = _leaves_of(before, read), _leaves_of(after, read)
    if old is None or new is None:
        return sys.maxsize
    pages = len(set(old) ^ set(new))
    exact = difference(before, after, read) if pages <= _FEW else None
    return len(exact) if exact is not None else pages * _AVERAGE


def _by_path(leaves: Iterable[bytes], bodies: Mapping[bytes, bytes]) -> dict[str, Entry]:
    return {entry.path: entry for leaf in leaves for entry in EntryList.decode(bodies[leaf])}


def below(body: bytes) -> list[bytes]:
    """The pages a page of ids names; none of a page of entries."""
    return [body[at : at + _ID] for at in range(1, len(body), _ID)] if _is_of_ids(body) else []


def _is_of_ids(body: bytes) -> bool:
    return body[:1] == _OF_IDS


def _leaves_of(top: bytes, read: Read) -> list[bytes] | None:
    return _leaves(top, read) if _is_of_ids(top) else [page_id(top)]


def _leaves(top: bytes, read: Read) -> list[bytes] | None:
    """Ids of the pages of entries below `top`, in order."""
    ids = below(top)
    while ids:
        first = read(ids[:1])
        if not first:
            return None
        if not _is_of_ids(first[ids[0]]):
            return ids
        bodies = read(ids)
        if any(each not in bodies for each in ids):
            return None
        ids = [page for each in ids for page in below(bodies[each])]
    return ids


def _split(items: Iterable[T], ends: Callable[[T], bool]) -> Iterator[list[T]]:
    page: list[T] = []
    for item in items:
        page.append(item)
        if ends(item) or len(page) >= _LONGEST:
            yield page
            page = []
    if page:
        yield page


def _ends_after(entry: Entry) -> bool:
    return zlib.crc32(entry.path.encode("utf-8", "surrogateescape")) % _AVERAGE == 0


def _ends_after_id(page: bytes) -> bool:
    return page[0] % _AVERAGE == 0


def chunks(ids: Sequence[bytes], size: int = 500) -> Iterator[Sequence[bytes]]:
    """As many ids as one SQL statement takes."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
