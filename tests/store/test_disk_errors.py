"""A disk that says no at each write (full, failing) and calls that are interrupted: told, nothing lost, then it works."""

from __future__ import annotations

import asyncio
import errno
import os
import signal

import crash_worker
import pytest
from test_crash import BEFORE_BLOB, BEFORE_SNAPSHOT, check
from test_layers import listed

from trimaran.errors import TrimaranError
from trimaran.store import failpoints
from trimaran.store.store import open_store

WRITES = [
    *(("blob", place) for place in [*BEFORE_BLOB, "before rows"]),
    *(("copied", place) for place in [*BEFORE_BLOB, *BEFORE_SNAPSHOT, "before rows", "before snapshots sync"]),
    *(("pulled", place) for place in [*BEFORE_BLOB, *BEFORE_SNAPSHOT, "before rows"]),
    *(("committed", place) for place in ["before snapshot rename", "before rows", "before snapshots sync"]),
    *(("mounted", place) for place in ["before cache mount rename"]),
]


FULL = [(work, place, "ENOSPC") for work, place in WRITES]
FAILING = [(work, place, "EIO") for place, work in {place: work for work, place in reversed(WRITES)}.items()]
"""Each place once: what a full disk does at each is tried in all works that come to it."""


def failing(place: str, number: int):
    """As long as it is the hook: rows are written in as many turns as the writer happens to take for them."""

    def hook(name: str) -> None:
        if name == place:
            raise OSError(number, os.strerror(number))

    return hook


@pytest.mark.parametrize(("work", "place", "what"), [*FULL, *FAILING])
def test_told_and_nothing_lost(tmp_path, monkeypatch, work, place, what):
    with open_store(str(tmp_path)) as store:
        earlier = asyncio.run(store.layers.add(*listed({"big": crash_worker.FILES["big"], "earlier": b"1"})))
        asyncio.run(store.layers.folder(earlier))
        asyncio.run(store.sync())
    with open_store(str(tmp_path)) as store:
        monkeypatch.setattr(failpoints, "hook", failing(place, getattr(errno, what)))
        with pytest.raises(TrimaranError, match=f"(?i){os.strerror(getattr(errno, what))}") as caught:
            asyncio.run(crash_worker.WORKS[work](store))
        if what == "ENOSPC":
            assert "prune" in caught.value.hint
        monkeypatch.setattr(failpoints, "hook", None)
        asyncio.run(crash_worker.WORKS[work](store))  # in the same process, too
    with open_store(str(tmp_path)) as store:
        assert store.layers.present(earlier)
    check(tmp_path)


def test_interrupted_calls_go_on(tmp_path):
    """EINTR for real: a signal every third of a millisecond."""
    count = 0

    def tick(*_: object) -> None:
        nonlocal count
        count += 1

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        with open_store(str(tmp_path)) as store:
            for work in crash_worker.WORKS:
                asyncio.run(crash_worker.WORKS[work](store))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert count > 20
    check(tmp_path)
