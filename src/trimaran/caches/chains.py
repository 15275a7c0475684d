"""A build's records brought into the form a cache config has: equal ones joined, circles cut, in one order.

Pure. Two records are one when they are of the same op and share a link at every input: BuildKit takes a cache in which
such records stand apart for broken. What comes out does not depend on the order in which records came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trimaran.caches.config import CacheConfig, CacheLayer, CacheLink, CacheRecord, CacheResult
from trimaran.digest import Digest

Link = tuple[int, str]
"""(record, selector)."""
NOBODY: frozenset[int] = frozenset()


class ChainLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A blob of a result."""

    blob: Digest
    media_type: str
    diff_id: Digest
    size: int
    created: str


class ChainResult(msgspec.Struct, frozen=True):
    """What a record gives: blobs, lowest first."""

    layers: tuple[ChainLayer, ...]
    created: str


class _Record:
    """`order` is of the first of those that were joined: links only lead to earlier ones."""

    __slots__ = ("digest", "inputs", "order", "result")

    def __init__(self, digest: str, inputs: list[set[Link]], result: ChainResult | None, order: int) -> None:
        self.digest = digest
        self.inputs = inputs
        self.result = result
        self.order = order


class Chains:
    """Records are added inputs first; `add` gives the number by which others link to it."""

    def __init__(self) -> None:
        self._records: list[_Record] = []
        self._roots: dict[str, int] = {}

    def root(self, digest: str) -> int:
        """The record of a source or of content."""
        if digest not in self._roots:
            self._roots[digest] = self._new(digest, [], None)
        return self._roots[digest]

    def add(self, digest: str, inputs: Sequence[set[Link]], result: ChainResult | None) -> int:
        """The record of an op: per input at least one link."""
        if not all(inputs):
            raise ValueError("a record needs a link at every input")
        return self._new(digest, [set(links) for links in inputs], result)

    def _new(self, digest: str, inputs: list[set[Link]], result: ChainResult | None) -> int:
        self._records.append(_Record(digest, inputs, result, len(self._records)))
        return len(self._records) - 1

    def config(self) -> CacheConfig:
        """All that was added; linear where no records are to be joined."""
        return _written(_joined(self._records))


def _joined(records: list[_Record]) -> list[_Record]:
    """Join until nothing is to be joined: a join of two may make those that hang on them equal."""
    parents = list(range(len(records)))

    def find(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    changed = True
    while changed:
        changed = False
        readers: dict[tuple[int, int, str, tuple[str, int]], set[int]] = {}
        for number, record in enumerate(records):
            op = (record.digest, len(record.inputs))
            same: set[int] | None = None
            found = [
                [readers.get((find(source), position, selector, op), NOBODY) for source, selector in links]
                for position, links in enumerate(record.inputs)
            ]
            for each_input in sorted(found, key=lambda sets: sum(map(len, sets))):  # many may read what one other reads
                here = {find(each) for each in NOBODY.union(*each_input)}
                same = here if same is None else same & here
                if not same:
                    break
            group = find(number)
            for other in same or ():
                first, last = sorted((group, find(other)))
                if first != last:
                    parents[last] = first
                    changed = True
                group = first
            for position, links in enumerate(record.inputs):
                for source, selector in links:
                    readers.setdefault((find(source), position, selector, op), set()).add(group)
    return _groups(records, [find(number) for number in range(len(records))])


def _groups(records: list[_Record], groups: list[int]) -> list[_Record]:
    """One record per group; a link to a later group, or to itself, could close a circle and is left out."""
    numbers = {group: number for number, group in enumerate(sorted(set(groups)))}
    joined = [_Record(records[group].digest, [set() for _ in records[group].inputs], None, 0) for group in numbers]
    for record, group in zip(records, groups, strict=True):
        target = joined[numbers[group]]
        for links, wanted in zip(target.inputs, record.inputs, strict=True):
            links.update(
                (numbers[groups[source]], selector)
                for source, selector in wanted
                if groups[source] < group or not records[source].inputs
            )
        if record.result is not None and (target.result is None or _rank(record.result) > _rank(target.result)):
            target.result = record.result
    return joined


def _rank(result: ChainResult) -> tuple[str, list[str]]:
    """The newest counts, as in BuildKit; of equally new ones always the same."""
    return result.created, [layer.blob for layer in result.layers]


def _written(records: list[_Record]) -> CacheConfig:
    layers, tops = _layers(records)
    names = _names(records)
    order = sorted(range(len(records)), key=lambda number: (records[number].digest, names[number]))
    places = {number: place for place, number in enumerate(order)}
    written = []
    for number in order:
        record = records[number]
        top = tops.get(number)
        written.append(
            CacheRecord(
                digest=record.digest,
                inputs=tuple(
                    tuple(sorted(CacheLink(places[source], selector) for source, selector in links))
                    for links in record.inputs
                ),
                results=() if top is None or record.result is None else (CacheResult((top,), record.result.created),),
            )
        )
    return CacheConfig(layers, tuple(written))


def _layers(records: Sequence[_Record]) -> tuple[tuple[CacheLayer, ...], Mapping[int, int]]:
    """(each blob on each chain once, by blob and what it stands on; record → its topmost)."""
    found: dict[tuple[int, Digest], int] = {}
    made: list[tuple[ChainLayer, int]] = []
    tops: dict[int, int] = {}
    for number, record in enumerate(records):
        below = -1
        for layer in record.result.layers if record.result else ():
            key = (below, layer.blob)
            if key not in found:
                found[key] = len(made)
                made.append((layer, below))
            below = found[key]
        if below >= 0:
            tops[number] = below
    stacks: list[str] = []
    for layer, below in made:
        stacks.append(Digest.of(f"{layer.blob} {stacks[below] if below >= 0 else ''}".encode()))
    order = sorted(range(len(made)), key=lambda each: (made[each][0].blob, stacks[each]))
    places = {each: place for place, each in enumerate(order)}
    layers = tuple(
        CacheLayer(
            blob=made[each][0].blob,
            parent=places[made[each][1]] if made[each][1] >= 0 else -1,
            media_type=made[each][0].media_type,
            diff_id=made[each][0].diff_id,
            size=made[each][0].size,
            created=made[each][0].created,
        )
        for each in order
    )
    return layers, {number: places[top] for number, top in tops.items()}


def _names(records: Sequence[_Record]) -> list[str]:
    """What a record is, whatever its number: of its digest and of what it hangs on."""
    names = [record.digest for record in records]
    for number, record in enumerate(records):
        if record.inputs:
            inputs = [sorted(f"{selector}={names[source]}" for source, selector in links) for links in record.inputs]
            names[number] = Digest.of(repr((record.digest, inputs)).encode())
    return names
