"""Which earlier record a step is an edit of: what a miss is compared with (docs/design/0007)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from trimaran.engine.file_lists import FileLists
from trimaran.graph.vertex import Vertex
from trimaran.misses import FilesChanged, SourceChange
from trimaran.solver.protocols import Account, CacheRecord, Tombstone
from trimaran.solver.reasons import ListChange, difference, distance, instruction, split_source
from trimaran.store import tombstones
from trimaran.store.store import Store

_OF_A_CHECKOUT = frozenset({"mode", "owner", "attributes"})
"""What may differ of all files where the same is checked out by others."""
_CLOSE = 8
"""Records that are equally near by all but files, of which the files are looked at."""


class Spot(NamedTuple):
    """An account's place, which is these words."""

    scope: str
    platform: str
    step: str

    @classmethod
    def of(cls, account: Account | None) -> Spot:
        words = account.place.split(" ", 2) if account is not None else []
        return cls(*words) if len(words) == 3 else cls("", "", "")

    @property
    def file(self) -> tuple[str, str]:
        return self.scope, self.platform


class Found(NamedTuple):
    """`stone`: the record is gone, and this is all there is of it."""

    record: CacheRecord | None = None
    stone: Tombstone | None = None


class Earlier:
    """Of one build, whose records of its own are none of earlier: it `began` then (ns)."""

    def __init__(self, store: Store, scope: str, began: int) -> None:
        self._store = store
        self._began = began
        self.knows_file = store.records.knows(scope, before=began)
        """Whether anything of this build file was built here before."""
        self._files: dict[tuple[str, str], list[CacheRecord]] = {}
        self._twin = ""
        """The scope of a build file that this new one is a copy of."""
        self._seen = 0
        self._said: dict[str, set[str]] = {}
        """Of the graph as of when it had `_seen` vertices."""

    def knows_platform(self, now: CacheRecord) -> bool:
        spot = Spot.of(now.account)
        return self._store.records.knows(f"{spot.scope} {spot.platform}", before=self._began)

    def find(self, now: CacheRecord, lists: FileLists, graph: Collection[Vertex]) -> Found:
        """What said the same in this build file, best at its place; else what stood at its place; else the same op on
        equal sources in another build file that this one is a copy of (a checkout elsewhere)."""
        spot = Spot.of(now.account)
        alike = [each for each in self._store.records.alike(now.op) if each.created < self._began and each.account]
        if spot.step:
            said, at_place, stone = self._of_file(now, spot, alike)
            if said:
                there = [each for each in said if Spot.of(each.account).step == spot.step]
                return Found(self._closest(now, there or said, lists))
            places = self._places_in(graph)
            edited = [each for each in at_place if not places.get(_words(each.description), set()) - {spot.step}]
            edited = edited or self._of_lost_stage(now, spot, places)  # one whose text stands elsewhere was moved
            if edited:
                return Found(self._closest(now, edited, lists), stone)
        return Found(None if self.knows_file else self._elsewhere(now, alike, lists))

    def _of_file(
        self, now: CacheRecord, spot: Spot, alike: list[CacheRecord]
    ) -> tuple[list[CacheRecord], list[CacheRecord], Tombstone | None]:
        """Those of its words, those at its place, and the tombstone of what stood there if there is nothing else."""
        at_place = self._store.records.latest_at(self._place(now), before=self._began)
        here = [each for each in alike if Spot.of(each.account).file == spot.file]
        known = {each.key: each for each in (*at_place, *here, *self._in_file(spot))}
        words = _words(now.description)
        said = [each for each in known.values() if _words(each.description) == words and _same_instruction(now, each)]
        stone = None if said or at_place else tombstones.latest(self._store.database, self._place(now))
        if stone is not None:
            at_place = [stone.record]
        return said, [each for each in at_place if _same_instruction(now, each)], stone

    def _in_file(self, spot: Spot) -> list[CacheRecord]:
        known = self._files.get(spot.file)
        if known is None:
            known = self._store.records.latest_in(" ".join(spot.file), before=self._began)
            self._files[spot.file] = known
        return known

    def _of_lost_stage(self, now: CacheRecord, spot: Spot, places: Mapping[str, set[str]]) -> list[CacheRecord]:
        """What stood at the same number of a stage that is called otherwise now, or is not there any more."""
        stages = {_stage(place) for some in places.values() for place in some}
        number = spot.step.rpartition("/")[2]
        return [
            each
            for each in self._in_file(spot)
            if _same_instruction(now, each)
            and (step := Spot.of(each.account).step).rpartition("/")[2] == number
            and _stage(step) not in stages
            and _words(each.description) not in places
        ]

    def _place(self, now: CacheRecord) -> str:
        return now.account.place if now.account is not None else ""

    def _closest(self, now: CacheRecord, some: list[CacheRecord], lists: FileLists) -> CacheRecord:
        """Branches of a project take turns: the latest record need not be the nearest."""
        apart = [distance(now, each) for each in some]
        near = [each for each, far in zip(some, apart, strict=True) if far == min(apart)][:_CLOSE]
        if len(near) == 1 or now.account is None or not now.account.lists:
            return near[0]
        return min(near, key=lambda each: lists.apart(now, each))

    def _places_in(self, graph: Collection[Vertex]) -> Mapping[str, set[str]]:
        """The words of the graph's steps → where they stand."""
        if len(graph) != self._seen:
            self._seen = len(graph)
            self._said.clear()
            for vertex in graph:
                if vertex.hints.place:
                    self._said.setdefault(_words(vertex.hints.name), set()).add(vertex.hints.place)
        return self._said

    def _elsewhere(self, now: CacheRecord, alike: list[CacheRecord], lists: FileLists) -> CacheRecord | None:
        """Which file this one is a copy of, the first step decides that reads nearly the same there."""
        spot, below = Spot.of(now.account), _unpinned(now)
        for each in alike:
            other = Spot.of(each.account)
            if (other.platform, other.step) != (spot.platform, spot.step) or _unpinned(each) != below:
                continue
            if not self._twin and _is_copy(now, each, lists.changes(now, each)):
                self._twin = other.scope
            if other.scope == self._twin:
                return each
        return None


def _is_copy(now: CacheRecord, each: CacheRecord, changes: Mapping[int, ListChange]) -> bool:
    """No more than a base that moved, modes and owners, and fewer than half of the files."""
    reasons = difference(now, each, changes)
    others = [reason for reason in reasons if not isinstance(reason, FilesChanged | SourceChange)]
    counts = {read.number: read.count for read in (now.account or Account()).lists}
    kept = all(
        2 * sum(file.how not in _OF_A_CHECKOUT for file in change.changes) <= counts[number] + change.besides
        for number, change in changes.items()
    )
    return bool(reasons) and not others and kept


def _same_instruction(now: CacheRecord, each: CacheRecord) -> bool:
    return instruction(now.account or Account()) == instruction(each.account or Account())


def _stage(place: str) -> str:
    return place.rpartition("/")[0]


def _words(name: str) -> str:
    """A step's name without the stage and count before it."""
    return name.partition("] ")[2] if name.startswith("[") else name


def _unpinned(record: CacheRecord) -> tuple[str, ...]:
    return tuple(split_source(each)[0] for each in (record.account or Account()).below)
