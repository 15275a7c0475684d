"""What tags and git refs pointed to when last asked: for builds without network, and for hours when a registry is down.

Kept among the store's memos, rewritten when the answer changed or is an hour old: a build that changes nothing writes
nothing.
"""

from __future__ import annotations

import time

import msgspec

from trimaran.store.packing import unpack_json
from trimaran.store.records import Records

_RENEWED = 3600 * 1_000_000_000


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """An answer, and when it was given (nanoseconds since the epoch)."""

    value: str
    asked: int


class Answers:
    """`kind` keeps questions of different sources apart."""

    def __init__(self, records: Records, kind: str) -> None:
        self._records = records
        self._stack = f"answers:{kind}"

    def get(self, name: str) -> Remembered | None:
        text = self._records.memo(self._stack, name)
        try:
            return None if text is None else unpack_json(text, Remembered)
        except msgspec.MsgspecError:
            return None

    def put(self, name: str, value: str) -> None:
        known = self.get(name)
        now = time.time_ns()
        if known is not None and known.value == value and (0 <= now - known.asked < _RENEWED or "@" in name):
            return  # what a digest names does not age
        self._records.remember(self._stack, name, msgspec.json.encode(Remembered(value, now)).decode())
