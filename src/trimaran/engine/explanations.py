"""What is known of an earlier build's steps: which were cached, why the others were not; and how two builds differ.

Read from the build's record and events; only the comparison of two builds asks the store for the steps' records.
"""

from __future__ import annotations

import os

import msgspec

from trimaran.digest import Digest
from trimaran.engine.history import BuildRecord
from trimaran.engine.request import StepRecord
from trimaran.events import AdoptionEvent, MissEvent
from trimaran.misses import NeverBuilt, Reason
from trimaran.solver.protocols import CacheRecord
from trimaran.solver.reasons import difference, without_platform
from trimaran.store import tombstones
from trimaran.store.packing import unpack_json
from trimaran.store.store import Store


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A step, on all platforms on which it went the same way."""

    number: int
    name: str
    platforms: tuple[str, ...] = ()
    outcome: str
    """cached | ran | adopted (it ran and gave what it had given before) | failed; of a comparison: same | differs |
    only-first | only-second | unknown (a record is gone)."""
    reasons: tuple[Reason, ...] = ()
    seconds: float = 0.0
    origin: str = ""
    """Of a cached step: the shared cache that its result comes from."""


class _Line(msgspec.Struct):
    kind: str
    event: msgspec.Raw


def explained(root: str, record: BuildRecord) -> list[Explained]:
    """The steps of a build that could have been cached, in the order in which they were announced."""
    misses, adopted = _told(os.path.join(root, "builds", record.build_id, "events.jsonl"))
    found = []
    for step in record.steps:
        served = step.place and step.cached  # a shared cache has keys of its own
        if not step.key and not served and step.digest not in misses:
            continue
        ran = "adopted" if step.digest in adopted else "ran"
        found.append(
            Explained(
                number=step.number,
                name=without_platform(step.name),
                platforms=(step.platform,) if step.platform else (),
                outcome="failed" if step.error else "cached" if step.cached else ran,
                reasons=misses.get(step.digest, ()),
                seconds=round(max(step.completed - step.started, 0) / 1e9, 3),
                origin=step.origin,
            )
        )
    return _joined(found)


def compared(store: Store, first: BuildRecord, second: BuildRecord) -> list[Explained]:
    """How the steps of `second` differ from those of `first`: by place and platform, whatever was cached then."""
    found = []
    before = {_where(step): step for step in first.steps if step.place and step.key}
    after = {_where(step): step for step in second.steps if step.place and step.key}
    for where in dict.fromkeys((*after, *before)):
        outcome, reasons = _comparison(store, before.get(where), after.get(where))
        step = after.get(where) or before[where]
        found.append(
            Explained(
                number=step.number,
                name=without_platform(step.name),
                platforms=(step.platform,) if step.platform else (),
                outcome=outcome,
                reasons=reasons,
            )
        )
    return _joined(found)


def _comparison(store: Store, before: StepRecord | None, after: StepRecord | None) -> tuple[str, tuple[Reason, ...]]:
    if before is None or after is None:
        return "only-second" if before is None else "only-first", ()
    if before.key == after.key:
        return "same", ()
    old, new = _record(store, before.key), _record(store, after.key)
    if old is None or new is None:
        return "unknown", ()
    from trimaran.engine.file_lists import FileLists

    return "differs", difference(new, old, FileLists(store, {}).changes(new, old)) or (NeverBuilt(),)


def _record(store: Store, key: str) -> CacheRecord | None:
    found = store.records.peek(Digest(key))
    if found is not None:
        return found
    stone = tombstones.find(store.database, key)
    return stone.record if stone is not None else None


def _told(path: str) -> tuple[dict[str, tuple[Reason, ...]], set[str]]:
    misses: dict[str, tuple[Reason, ...]] = {}
    adopted: set[str] = set()
    try:
        with open(path, "rb") as file:
            for text in file:
                if b'"MissEvent"' not in text[:40] and b'"AdoptionEvent"' not in text[:40]:
                    continue
                line = unpack_json(text, _Line)
                if line.kind == MissEvent.__name__:
                    miss = unpack_json(bytes(line.event), _Miss)
                    misses[miss.vertex] = miss.reasons
                elif line.kind == AdoptionEvent.__name__:
                    adopted.add(unpack_json(bytes(line.event), _Miss).vertex)
    except (OSError, msgspec.MsgspecError):
        return misses, adopted
    return misses, adopted


class _Miss(msgspec.Struct):
    vertex: str
    reasons: tuple[Reason, ...] = ()


def _where(step: StepRecord) -> tuple[str, str]:
    return step.place, step.platform


def _joined(steps: list[Explained]) -> list[Explained]:
    """Platforms on which the same happened to the same step are one."""
    rows: dict[tuple[str, str, str, tuple[Reason, ...]], Explained] = {}
    for step in steps:
        known = rows.setdefault((step.name, step.outcome, step.origin, step.reasons), step)
        if known is not step:
            rows[known.name, known.outcome, known.origin, known.reasons] = msgspec.structs.replace(
                known, platforms=(*known.platforms, *step.platforms), seconds=round(known.seconds + step.seconds, 3)
            )
    return list(rows.values())
