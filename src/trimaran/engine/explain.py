"""Why a step was not cached: the accounts of steps, the earlier record each is compared with, and what differs.

Asked at misses alone. Law: explaining never fails a build; what cannot be told any more is left out.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

from trimaran import aio
from trimaran.digest import Digest
from trimaran.errors import NotCached, TrimaranError
from trimaran.events import AdoptionEvent, MissEvent, Sink
from trimaran.graph.ops import SourceOp
from trimaran.graph.vertex import Vertex
from trimaran.misses import BytesGone, CacheOff, Evicted, FileChange, FileHow, NeverBuilt, Reason
from trimaran.platforms import Platform
from trimaran.solver.protocols import Account, Accounted, CacheRecord, Miss, ReadList, Result, Tombstone
from trimaran.solver.reasons import difference, distance, pairs, split_source
from trimaran.steps.aspects import aspects
from trimaran.store import tombstones
from trimaran.store.entries import FOLDER, Entry, EntryList
from trimaran.store.page_rows import read_pages
from trimaran.store.pages import Paged, page_id, paged
from trimaran.store.pages import difference as list_difference
from trimaran.store.store import Store


@runtime_checkable
class _ReadsFiles(Protocol):
    async def lists(self, inputs: Collection[Result]) -> Mapping[int, EntryList]: ...


class Explainer:
    """See `solver.protocols.Explainer`. `scope` names the build file: places of two of them are never compared."""

    def __init__(self, store: Store, scope: str, host: Platform, sink: Sink, refuse: Collection[str]) -> None:
        """`refuse`: a miss in one of these stages (`*`: in any) fails the build."""
        self._store = store
        self._scope = Digest.of(scope.encode("utf-8", "surrogateescape")).hex[:16]
        self._host = host
        self._sink = sink
        self._refuse = refuse
        self._began = time.time_ns()
        self._known: bool | None = None
        self._seen = 0
        self._said: dict[str, set[str]] = {}
        """Texts of the graph's steps → their places, as of when it had `_seen` vertices."""

    async def missed(self, miss: Miss) -> Accounted:
        lists = await _lists(miss)
        known = _accounted(miss, lists, self._place(miss.vertex))
        now = CacheRecord(key=miss.key, op=miss.op, inputs=miss.reads, results=(), account=known.account)
        try:
            reasons = self._reasons(miss, now, dict(known.pages))
        except TrimaranError:
            reasons = (NeverBuilt(),)
        vertex = miss.vertex
        self._sink(
            MissEvent(
                vertex=vertex.digest,
                name=vertex.hints.name,
                place=vertex.hints.place,
                reasons=reasons,
                timestamp=time.time_ns(),
            )
        )
        stage = vertex.hints.place.rpartition("/")[0]
        if "*" in self._refuse or (vertex.hints.place and stage in self._refuse):
            raise NotCached(f"run {vertex.hints.name}: it is not cached", reasons=reasons)
        return known

    def adopted(self, vertex: Vertex) -> None:
        hints = vertex.hints
        self._sink(AdoptionEvent(vertex=vertex.digest, name=hints.name, place=hints.place, timestamp=time.time_ns()))

    def _place(self, vertex: Vertex) -> str:
        platform = vertex.constraints.platform or self._host
        return f"{self._scope} {platform.format_all()} {vertex.hints.place}" if vertex.hints.place else ""

    def _reasons(self, miss: Miss, now: CacheRecord, fresh: Mapping[bytes, bytes]) -> tuple[Reason, ...]:
        if miss.vertex.hints.ignore_cache:
            return (CacheOff(),)
        if miss.broken is not None:
            return (BytesGone(miss.broken),)
        stone = tombstones.find(self._store.database, miss.key)
        if stone is not None:
            return (_evicted(stone),)
        earlier, stone = self._nearest(now, miss.graph)
        files = changed_files(self._store, now, earlier, fresh) if earlier is not None else {}
        found = difference(now, earlier, files) if earlier is not None else ()
        if stone is not None and earlier is not None and earlier.op == now.op:
            return (_evicted(stone), *found)
        if self._known is None:
            self._known = self._store.records.knows(self._scope, before=self._began)
        return found or (NeverBuilt(whole=not self._known),)

    def _nearest(self, now: CacheRecord, graph: Collection[Vertex]) -> tuple[CacheRecord | None, Tombstone | None]:
        """The earlier record this step is an edit of: the same op or place in this build file, else the same op on
        equal sources in another (a checkout elsewhere). With its tombstone, if that is all there is of it."""
        assert now.account is not None
        place = now.account.place
        alike = [
            each
            for each in self._store.records.alike(now.op)
            if each.created < self._began and each.account is not None
        ]
        here = [each for each in alike if place and _shares_scope(each, place)]
        there = [each for each in here if each.account is not None and each.account.place == place]
        if here:
            return min(there or here, key=lambda each: distance(now, each)), None
        own = place.rpartition(" ")[2]
        edited, stone = self._at(place)
        edited = [each for each in edited if not self._places(each, graph) - {own}]  # else that was moved, not edited
        if edited:
            return min(edited, key=lambda each: distance(now, each)), stone
        below = _unpinned(now.account)
        elsewhere = (each for each in alike if each.account is not None and _unpinned(each.account) == below)
        return next(elsewhere, None), None

    def _places(self, record: CacheRecord, graph: Collection[Vertex]) -> set[str]:
        """Where in the graph steps stand that say what the record's step said."""
        if len(graph) != self._seen:
            self._seen = len(graph)
            self._said.clear()
            for vertex in graph:
                if vertex.hints.place:
                    self._said.setdefault(_said(vertex.hints.name), set()).add(vertex.hints.place)
        return self._said.get(_said(record.description), set())

    def _at(self, place: str) -> tuple[list[CacheRecord], Tombstone | None]:
        found = self._store.records.latest_at(place, before=self._began) if place else []
        stone = tombstones.latest(self._store.database, place) if place and not found else None
        return ([stone.record] if stone is not None else found), stone


def _evicted(stone: Tombstone) -> Evicted:
    return Evicted(stone.why.cause, stone.at, stone.why.limit)


def changed_files(
    store: Store, now: CacheRecord, earlier: CacheRecord, fresh: Mapping[bytes, bytes]
) -> dict[int, tuple[FileChange, ...]]:
    """Per input of `now` what differs of its list from the one of `earlier`; `fresh`: pages that are not stored yet."""

    def read(ids: Collection[bytes]) -> dict[bytes, bytes]:
        here = {page: fresh[page] for page in ids if page in fresh}
        return {**here, **read_pages(store.database, [page for page in ids if page not in here])}

    before = {each.number: each.top for each in (earlier.account or Account()).lists}
    compared = pairs(now, earlier)
    found = {}
    for each in (now.account or Account()).lists:
        other = compared[each.number][1]
        top = before.get(earlier.inputs.index(other)) if other is not None else None
        bodies = read({top, each.top}) if top is not None else {}
        if top in bodies and each.top in bodies:
            changes = list_difference(bodies[top], bodies[each.top], read)
            found[each.number] = tuple(_file_change(*change) for change in changes or ())
    return found


def _file_change(before: Entry | None, after: Entry | None) -> FileChange:
    known = after or before
    assert known is not None
    return FileChange(known.path.encode("utf-8", "backslashreplace").decode(), _how(before, after))


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


async def _lists(miss: Miss) -> dict[int, tuple[Paged, int]]:
    """What the step read file by file, and how many files that is."""
    if not isinstance(miss.step, _ReadsFiles):
        return {}
    lists = await miss.step.lists(miss.inputs)
    return {number: await aio.in_thread(_paged, entries) for number, entries in lists.items()}


def _paged(cancel: aio.Cancel, entries: EntryList) -> tuple[Paged, int]:
    cancel.check()
    return paged(entries), sum(entry.kind != FOLDER for entry in entries)


def _accounted(miss: Miss, lists: Mapping[int, tuple[Paged, int]], place: str) -> Accounted:
    vertex = miss.vertex
    account = Account(
        place=place,
        aspects=aspects(vertex.op, vertex.constraints.platform, vertex.hints.arguments),
        below=tuple(_below(edge.vertex) for edge in vertex.inputs),
        lists=tuple(ReadList(number, page_id(each.top), count) for number, (each, count) in lists.items()),
    )
    return Accounted(account, tuple(page for each, _ in lists.values() for page in each.all))


def _below(vertex: Vertex) -> str:
    """A source by its URL, less what is secret in it; else the step's name."""
    if not isinstance(vertex.op, SourceOp):
        return vertex.hints.name
    if vertex.op.scheme in ("docker-image", "local"):
        return vertex.op.identifier
    from trimaran.registry.errors import redact

    return redact(vertex.op.identifier)


def _shares_scope(record: CacheRecord, place: str) -> bool:
    assert record.account is not None
    return record.account.place.split(" ")[:2] == place.split(" ")[:2]


def _said(name: str) -> str:
    """A step's name without the stage and count before it."""
    return name.partition("] ")[2] if name.startswith("[") else name


def _unpinned(account: Account) -> tuple[str, tuple[str, ...]]:
    platform = account.place.split(" ")[1:2]
    return "".join(platform), tuple(split_source(each)[0] for each in account.below)
