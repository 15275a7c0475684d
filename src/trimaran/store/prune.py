"""Which layers go first: BuildKit's rules for `prune` and for its garbage collection policies. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

import msgspec

from trimaran.errors import UsageError
from trimaran.store.remembered import REMEMBERED
from trimaran.store.usage import INTERNAL, UsageRecord


class PruneOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, 0: not asked for. Without any size everything that matches goes; with one, the least used first,
    until the store fits.
    """

    all: bool = False
    """Also internal records, and the unpacked folders of layers that named images have."""
    filters: tuple[str, ...] = ()
    """Each `key`, `key=value`, `key==value`, `key!=value` or `key~=regex`, or several joined by commas, which must all
    hold; one of `filters` is enough, as in BuildKit.
    """
    keep_duration: int = 0
    """Nanoseconds: what was used since stays."""
    reserved: int = 0
    max_used: int = 0
    min_free: int = 0
    whole: bool = False
    """The sizes are of all that is on the disk, as of a hard limit; else what named images share is not counted, since
    it is no cache (BuildKit's rule).
    """


def keep_bytes(options: PruneOptions, *, total: int, free: int) -> int | None:
    """How large the store may stay; None when everything that matches goes."""
    if not (options.max_used or options.reserved or options.min_free):
        return None
    keep = options.max_used
    excess = options.min_free - free
    if excess > 0:
        keep = min(keep, total - excess) if keep else total - excess
    elif not keep:
        keep = total if options.min_free else 0
    return max(keep, options.reserved)


def candidates(records: Sequence[UsageRecord], options: PruneOptions, *, now: int) -> list[UsageRecord]:
    """What may go, first to go first."""
    wanted = [[parse_filter(text) for text in given.split(",") if text] for given in options.filters]
    fitting = [
        record
        for record in records
        if not record.in_use
        and (options.all or not (record.shared or record.type == INTERNAL))
        and not (options.keep_duration and _age(record, now) < options.keep_duration)
        and (not wanted or any(all(holds(record) for holds in given) for given in wanted))
    ]
    return _least_used_first(fitting)


def choose(
    records: Sequence[UsageRecord],
    options: PruneOptions,
    stacks: Mapping[str, Sequence[str]],
    *,
    free: int,
    now: int,
) -> list[UsageRecord]:
    """What goes, in this order, until the store fits; `stacks` has what each layer stands on.

    A layer goes only after all that stand on it. n log n in the number of layers.
    """
    total = sum(record.size for record in records if options.whole or not record.shared)
    keep = keep_bytes(options, total=total, free=free)
    waiting = {record.id: (rank, record) for rank, record in enumerate(candidates(records, options, now=now))}
    standing = Counter(below for stack in stacks.values() for below in set(stack))
    ready = [(rank, name) for name, (rank, _) in waiting.items() if not standing[name]]
    heapify(ready)
    chosen: list[UsageRecord] = []
    while ready and (keep is None or total > keep):
        name = heappop(ready)[1]
        record = waiting[name][1]
        chosen.append(record)
        total -= record.size - record.kept if options.whole or not record.shared else 0
        for below in set(stacks.get(name, ())):
            standing[below] -= 1
            if not standing[below] and below in waiting:
                heappush(ready, (waiting[below][0], below))
    return chosen


def _least_used_first(records: Iterable[UsageRecord]) -> list[UsageRecord]:
    """By the sum of both ranks, time of last use and count of uses, each from 0 to 1, as BuildKit orders them.

    What is only remembered is no record of BuildKit's: it stands behind all of them, and in no rank.
    """
    found = list(records)
    ranked = [record for record in found if record.id != REMEMBERED]
    by_time = {at: rank for rank, at in enumerate(sorted({_last(record) for record in ranked}))}
    by_count = {count: rank for rank, count in enumerate(sorted({record.usage_count for record in ranked}))}
    latest, most = max(1, len(by_time) - 1), max(1, len(by_count) - 1)

    def score(record: UsageRecord) -> tuple[float, int, str]:
        last = _last(record)
        return by_time[last] / latest + by_count[record.usage_count] / most, last, record.id

    return sorted(ranked, key=score) + [record for record in found if record.id == REMEMBERED]


def _age(record: UsageRecord, now: int) -> int:
    """Never negative: a time in the future is of a clock that went wrong."""
    return now - min(now, _last(record))


def _last(record: UsageRecord) -> int:
    return record.last_used or record.created


_KEYS = ("id", "parents", "description", "type", "inuse", "mutable", "immutable", "shared", "private")


def parse_filter(text: str) -> Callable[[UsageRecord], bool]:
    """UsageError for an unknown key or a broken regular expression."""
    match = re.fullmatch(r"\s*([a-z-]+)\s*(?:(==|=|!=|~=)(.*))?", text, re.DOTALL)
    if match is None or match[1] not in _KEYS:
        raise UsageError(f"parse filter {text!r}: unknown key", hint=f"known are {', '.join(_KEYS)}")
    key, operator, value = match[1], match[2], (match[3] or "").strip('"')
    if operator is None:
        return lambda record: any(_values(record, key))
    if operator == "~=":
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise UsageError(f"parse filter {text!r}: {error}") from error
        return lambda record: any(pattern.search(each) for each in _values(record, key))
    if operator == "!=":
        return lambda record: value not in _values(record, key)
    return lambda record: value in _values(record, key)


def _values(record: UsageRecord, key: str) -> tuple[str, ...]:
    """A flag that does not hold has the empty value, as containerd's filters see absent fields."""
    flags = {
        "inuse": record.in_use,
        "mutable": record.mutable,
        "immutable": not record.mutable,
        "shared": record.shared,
        "private": not record.shared,
    }
    if key in flags:
        return ("true",) if flags[key] else ("",)
    if key == "parents":
        return record.parents
    return (str(getattr(record, key)),)
