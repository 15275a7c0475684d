"""What a step reads file by file, and what of it differs from what an earlier one read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from trimaran import aio
from trimaran.misses import FileChange, FileHow
from trimaran.solver.protocols import Account, CacheRecord, Miss, Result
from trimaran.solver.reasons import ListChange, pairs, path_read
from trimaran.store import pages
from trimaran.store.entries import FOLDER, Entry, EntryList
from trimaran.store.page_rows import read_pages
from trimaran.store.pages import Change, Paged, paged
from trimaran.store.store import Store


@runtime_checkable
class _ReadsFiles(Protocol):
    async def lists(self, inputs: Collection[Result]) -> Mapping[int, EntryList]: ...


async def lists_of(miss: Miss) -> dict[int, tuple[Paged, int]]:
    """What the step reads file by file, and how many files that is."""
    if not isinstance(miss.step, _ReadsFiles):
        return {}
    lists = await miss.step.lists(miss.inputs)
    return {number: await aio.in_thread(_paged, entries) for number, entries in lists.items()}


def _paged(cancel: aio.Cancel, entries: EntryList) -> tuple[Paged, int]:
    cancel.check()
    return paged(entries), sum(entry.kind != FOLDER for entry in entries)


class FileLists:
    """`fresh`: pages of the later lists, which are not stored yet."""

    def __init__(self, store: Store, fresh: Mapping[bytes, bytes]) -> None:
        self._database = store.database
        self._fresh = fresh

    def changes(self, now: CacheRecord, earlier: CacheRecord) -> dict[int, ListChange]:
        """Per input of `now` what differs of its list; one that cannot be compared any more is left out."""
        found = {}
        for number, before, after, moved in self._tops(now, earlier):
            changes = self._moved(before, after, *moved) if moved else pages.difference(before, after, self._read)
            if changes is not None:
                told = tuple(_file_change(*change) for change in changes)
                found[number] = ListChange(told, sum(new is None or new.kind == FOLDER for _, new in changes))
        return found

    def apart(self, now: CacheRecord, earlier: CacheRecord) -> int:
        """About how many files differ: cheap, for choosing between records."""
        return sum(pages.apart(before, after, self._read) for _, before, after, _ in self._tops(now, earlier))

    def _tops(
        self, now: CacheRecord, earlier: CacheRecord
    ) -> Iterator[tuple[int, bytes, bytes, tuple[str, str] | None]]:
        """Input, both lists, and the paths they begin with where these are others."""
        before = {each.number: each.top for each in (earlier.account or Account()).lists}
        compared = pairs(now, earlier)
        for each in (now.account or Account()).lists:
            read, other = compared[each.number]
            top = before.get(earlier.inputs.index(other)) if other is not None else None
            bodies = self._read({top, each.top}) if top is not None else {}
            if other is not None and top in bodies and each.top in bodies:
                paths = (path_read(other), path_read(read))
                yield each.number, bodies[top], bodies[each.top], None if paths[0] == paths[1] else paths

    def _moved(self, before: bytes, after: bytes, old: str, new: str) -> list[Change] | None:
        """The difference of lists whose paths begin with others; of wildcards nothing can be told."""
        was, now = pages.joined(before, self._read), pages.joined(after, self._read)
        first, second = _below(was, old), _below(now, new)
        if first is None or second is None:
            return None
        moved = {path: msgspec.structs.replace(each, path=_under(new, path)) for path, each in first.items()}
        found = []
        for path in dict.fromkeys((*second, *moved)):
            one, other = moved.get(path), second.get(path)
            if one != other and (path or one is None or other is None or one.kind != FOLDER):
                found.append((one, other))
        return found

    def _read(self, ids: Collection[bytes]) -> dict[bytes, bytes]:
        here = {page: self._fresh[page] for page in ids if page in self._fresh}
        return {**here, **read_pages(self._database, [page for page in ids if page not in here])}


def _below(entries: EntryList | None, folder: str) -> dict[str, Entry] | None:
    """By their paths below `folder`, "" for itself."""
    if entries is None or any(each.path != folder and not each.path.startswith(f"{folder}/") for each in entries):
        return None
    return {each.path[len(folder) + 1 :]: each for each in entries}


def _under(folder: str, path: str) -> str:
    return f"{folder}/{path}" if path else folder


def _file_change(before: Entry | None, after: Entry | None) -> FileChange:
    known = after or before
    assert known is not None
    name = known.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return FileChange(name, _how(before, after))


def _how(before: Entry | None, after: Entry | None) -> FileHow:
    if before is None:
        return "added"
    if after is None:
        return "removed"
    if before.kind != after.kind:
        return "kind"
    if before.digest != after.digest:
        return "content"
    if before.target != after.target:
        return "target"
    if before.mode != after.mode:
        return "mode"
    return "owner" if (before.uid, before.gid) != (after.uid, after.gid) else "attributes"
