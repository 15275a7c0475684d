"""Why a step was not cached: the accounts of steps, the earlier record each is compared with, and what differs.

Asked at misses alone. Law: explaining never fails a build; what cannot be told any more is left out.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from trimaran.digest import Digest
from trimaran.engine import history
from trimaran.engine.earlier import Earlier
from trimaran.engine.file_lists import FileLists, lists_of
from trimaran.errors import NOT_CACHED, NotCached, TrimaranError
from trimaran.events import AdoptionEvent, MissEvent, Sink
from trimaran.graph.ops import SourceOp
from trimaran.graph.vertex import Vertex
from trimaran.misses import BytesGone, CacheOff, Evicted, NeverBuilt, Reason, Unfinished
from trimaran.platforms import Platform
from trimaran.solver.protocols import Account, Accounted, CacheRecord, Miss, ReadList, Tombstone
from trimaran.solver.reasons import difference
from trimaran.steps.aspects import aspects
from trimaran.store import tombstones
from trimaran.store.pages import Paged, page_id
from trimaran.store.store import Store

_BUILDS = 5
"""The latest ones, in which is looked for steps of which nothing came."""


class Explainer:
    """See `solver.protocols.Explainer`. `scope` names the build file: places of two of them are never compared."""

    def __init__(self, store: Store, scope: str, host: Platform, sink: Sink, refuse: Collection[str]) -> None:
        """`refuse`: a miss in one of these stages (`*`: in any) fails the build."""
        self._store = store
        self._scope = Digest.of(scope.encode("utf-8", "surrogateescape")).hex[:16]
        self._host = host
        self._sink = sink
        self._refuse = {stage.lower() for stage in refuse}
        self._began = time.time_ns()
        self._earlier: Earlier | None = None
        self._unfinished: dict[str, Unfinished] | None = None

    async def missed(self, miss: Miss) -> Accounted:
        lists = await lists_of(miss)
        known = _accounted(miss, lists, self._place(miss.vertex))
        vertex = miss.vertex
        now = CacheRecord(
            key=miss.key,
            op=miss.op,
            inputs=miss.reads,
            results=(),
            description=vertex.hints.name,
            account=known.account,
        )
        try:
            reasons = self._reasons(miss, now, FileLists(self._store, dict(known.pages)))
        except TrimaranError:
            reasons = (NeverBuilt(),)
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
            raise NotCached(f"run {vertex.hints.name}: {NOT_CACHED}", reasons=reasons)
        return known

    def adopted(self, vertex: Vertex) -> None:
        hints = vertex.hints
        self._sink(AdoptionEvent(vertex=vertex.digest, name=hints.name, place=hints.place, timestamp=time.time_ns()))

    def _place(self, vertex: Vertex) -> str:
        platform = vertex.platform or self._host
        return f"{self._scope} {platform.format_all()} {vertex.hints.place}" if vertex.hints.place else ""

    def _reasons(self, miss: Miss, now: CacheRecord, lists: FileLists) -> tuple[Reason, ...]:
        if miss.vertex.hints.ignore_cache:
            return (CacheOff(),)
        if miss.broken is not None:
            return (BytesGone(miss.broken),)
        stone = tombstones.find(self._store.database, miss.key)
        if stone is not None:
            return (_evicted(stone),)
        unfinished = self._of_nothing(miss.key)
        if unfinished is not None:
            return (unfinished,)
        if self._earlier is None:
            self._earlier = Earlier(self._store, self._scope, self._began)
        earlier, stone = self._earlier.find(now, lists, miss.graph)
        found = difference(now, earlier, lists.changes(now, earlier)) if earlier is not None else ()
        if stone is not None and earlier is not None and earlier.op == now.op:
            return (_evicted(stone), *found)
        return found or (self._never_built(miss.vertex, now, self._earlier),)

    def _of_nothing(self, key: Digest) -> Unfinished | None:
        if self._unfinished is None:
            self._unfinished = history.unfinished(self._store.root, _BUILDS)
        return self._unfinished.get(key)

    def _never_built(self, vertex: Vertex, now: CacheRecord, earlier: Earlier) -> NeverBuilt:
        if not earlier.knows_file:
            return NeverBuilt(whole=True)
        known = vertex.platform is None or earlier.knows_platform(now)
        return NeverBuilt(platform="" if known or vertex.platform is None else vertex.platform.format_all())


def _evicted(stone: Tombstone) -> Evicted:
    return Evicted(stone.why.cause, stone.at, stone.why.limit)


def _accounted(miss: Miss, lists: Mapping[int, tuple[Paged, int]], place: str) -> Accounted:
    vertex = miss.vertex
    account = Account(
        place=place,
        aspects=aspects(vertex.op, vertex.constraints.platform, vertex.hints.arguments, vertex.hints.name),
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
