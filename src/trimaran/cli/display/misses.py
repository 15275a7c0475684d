"""Why a step was not cached, in words. Pure: reasons of `misses.py` in, one line out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import cast

from trimaran.cli.display.terminal import printable
from trimaran.cli.units import human_duration, progress_size
from trimaran.events import AdoptionEvent, MissEvent, StatusEvent
from trimaran.misses import (
    BytesGone,
    CacheOff,
    Evicted,
    FilesChanged,
    InputChange,
    NeverBuilt,
    OpChange,
    Reason,
    SecretChange,
    SourceChange,
    SourceReplaced,
    StepChange,
    Unfinished,
)

ADOPTED = "it ran and gave the same as before: what reads it is cached"
_SHORT = 12
_NAMED = 3
"""Files named in a line."""
_SECRETS = {
    "changed": "changed",
    "added": "counts now: it is given with cache-key=hash",
    "removed": "counts no more: it was given with cache-key=hash",
}
_UNFINISHED = {"failed": "failed", "canceled": "was stopped"}
_CAUSES = {
    "prune": "by `prune`",
    "age": "because nobody had used it for long",
    "fsck": "by `fsck`: it was damaged",
    "lost": "because its bytes were gone",
}


def words(event: MissEvent | AdoptionEvent) -> str:
    return f"not cached: {line(event)}" if isinstance(event, MissEvent) else ADOPTED


def status(event: MissEvent | AdoptionEvent) -> StatusEvent:
    """As a part of the step, which every display knows how to show."""
    at = event.timestamp
    return StatusEvent(id=words(event), vertex=event.vertex, timestamp=at, started=at, completed=at)


def line(event: MissEvent) -> str:
    """All reasons of a miss in one line."""
    return reasons_line(event.reasons, event.timestamp)


def reasons_line(reasons: Iterable[object], now: int = 0) -> str:
    """`reasons` of `misses.py`, as an error that knows no more of them carries them."""
    return "; ".join(text(cast("Reason", reason), now or time.time_ns()) for reason in reasons)


def text(reason: Reason, now: int) -> str:
    """One reason; `now` (ns) is when it was given."""
    match reason:
        case NeverBuilt():
            return f"built for {reason.platform} for the first time" if reason.platform else "built for the first time"
        case Unfinished():
            return f"it {_UNFINISHED[reason.how]} {ago(reason.at, now)}, and nothing of it was kept"
        case CacheOff():
            return "--no-cache"
        case OpChange():
            return f"{reason.what} {printable(reason.name)} {reason.how}".replace("  ", " ")
        case StepChange():
            return f"the step above changed: {printable(reason.step)}"
        case SourceChange():
            return f"{reason.what} {printable(reason.name)} moved {_pin(reason.before)} → {_pin(reason.after)}"
        case SourceReplaced():
            return f"{reason.what} is {printable(reason.after)}, was {printable(reason.before)}"
        case FilesChanged():
            return _files(reason)
        case SecretChange():
            return f"secret {printable(reason.id)} {_SECRETS[reason.how]}"
        case InputChange():
            return f"{printable(reason.name)} changed"
        case Evicted():
            return _evicted(reason, now)
        case BytesGone():
            where = reason.where or "the store"
            return f"record found in {where} but its blob is gone"


def _files(reason: FilesChanged) -> str:
    of = f", of {printable(reason.origin)}" if reason.origin else ""
    if not reason.changed:
        return f"files of {printable(reason.source) or '.'} changed{of}"
    named = [f"{printable(each.path) or '.'} ({each.how})" for each in reason.files[:_NAMED]]
    more = ", …" if reason.changed > len(named) else ""
    plural = "" if reason.total == 1 else "s"
    return f"{reason.changed} of {reason.total} file{plural} changed: {', '.join(named)}{more}{of}"


def _evicted(reason: Evicted, now: int) -> str:
    when = ago(reason.at, now)
    if reason.cause == "limit":
        limit = f"the {progress_size(reason.limit)} limit" if reason.limit else "the limits of the settings"
        return f"evicted {when} by {limit}"
    return f"evicted {when} {_CAUSES.get(reason.cause, '')}".rstrip()


def ago(at: int, now: int) -> str:
    """ "3 hours ago", of two times in nanoseconds."""
    duration = human_duration(max(now - at, 0) / 1e9)
    return f"{duration[:1].lower()}{duration[1:]} ago"


def _pin(pin: str) -> str:
    """As much of a digest as tells it from others."""
    algorithm, colon, value = pin.rpartition(":")
    return f"{algorithm}{colon}{value[:_SHORT]}" if pin else "unknown"
