"""A clock that jumps, backwards or forwards, confuses neither who goes first nor how old things are."""

from __future__ import annotations

import os
import time

import pytest
from test_ceiling import keep

from trimaran.aio import Cancel
from trimaran.engine.history import BuildLog, builds
from trimaran.engine.request import BuildRequest
from trimaran.graph.frontend import FrontendRequest
from trimaran.platforms import Platform
from trimaran.settings import HistorySettings
from trimaran.store.prune import PruneOptions
from trimaran.store.store import open_store

DAY = 86_400
REQUEST = BuildRequest(frontend=FrontendRequest(build_platform=Platform("linux", "amd64")), names=("app",))


@pytest.fixture
def clock(monkeypatch):
    """The wall clock, `offset` seconds ahead of the machine's."""

    class Clock:
        offset = 0.0

    seconds, nanoseconds = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: seconds() + Clock.offset)
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(Clock.offset * 1e9))
    return Clock


def use(root, layers) -> None:
    with open_store(root) as store:
        for layer in layers:
            assert store.layers.present(layer)


def oldest_first(root, **options) -> list[str]:
    with open_store(root) as store:
        return [record.id for record in store.collector.plan(Cancel(), PruneOptions(**options))]


@pytest.mark.parametrize("jump", [-3650 * DAY, -DAY, DAY, 30 * DAY])
def test_what_was_made_and_never_used_since_keeps_its_order(tmp_path, run, clock, jump):
    root = str(tmp_path)
    made = []
    for number in range(4):
        clock.offset = jump if number >= 2 else 0
        with open_store(root) as store:
            made.append(run(keep(store, number, 100)))
            run(store.sync())
    assert oldest_first(root) == made


@pytest.mark.parametrize("jump", [-3650 * DAY, -3600, 3600, 30 * DAY])
def test_last_use_keeps_its_order_when_the_clock_jumps(tmp_path, run, clock, jump):
    root = str(tmp_path)
    with open_store(root) as store:
        layers = [run(keep(store, number, 100)) for number in range(4)]
        run(store.sync())
    use(root, layers[:1])
    use(root, layers[1:2])
    clock.offset = jump
    use(root, layers[2:3])
    use(root, layers[3:])
    assert oldest_first(root) == layers


def test_what_was_used_in_a_wrong_future_ages_again(tmp_path, run, clock):
    root = str(tmp_path)
    clock.offset = 3650 * DAY
    with open_store(root) as store:
        first, second = [run(keep(store, number, 100)) for number in range(2)]
        run(store.sync())
    use(root, [first])
    use(root, [second])
    clock.offset = 0
    use(root, [first])
    assert oldest_first(root) == [second, first]
    clock.offset = 3 * DAY
    assert oldest_first(root, keep_duration=2 * DAY * 10**9) == [second, first]
    assert oldest_first(root, keep_duration=4 * DAY * 10**9) == []


def build(root, keep_settings) -> str:
    with BuildLog.open(str(root), REQUEST, keep_settings) as log:
        return log.build_id


def test_history_keeps_the_newest_whatever_the_clock_says(tmp_path, clock):
    settings = HistorySettings(max_entries=3, max_age=2 * DAY)
    clock.offset = 365 * DAY
    for _ in range(3):
        identifier = build(tmp_path, settings)
        stamp = time.time()
        os.utime(tmp_path / "builds" / identifier, (stamp, stamp))  # the disk's clock went wrong as well
    clock.offset = 0
    newest = []
    for _ in range(3):
        newest.append(build(tmp_path, settings))
        time.sleep(0.01)
    left = {found.build_id for found in builds(str(tmp_path))}
    assert newest[-1] in left
    assert len(left) == 3
    clock.offset = 3 * DAY
    last = build(tmp_path, settings)
    assert {found.build_id for found in builds(str(tmp_path))} == {last}


def test_a_running_build_is_never_taken_for_an_old_one(tmp_path, clock):
    settings = HistorySettings(max_entries=1, max_age=60)
    with BuildLog.open(str(tmp_path), REQUEST, settings) as running:
        clock.offset = 365 * DAY
        build(tmp_path, settings)
        assert os.path.isdir(running.folder)
    clock.offset = 0


def test_collection_runs_whatever_its_stamp_says(tmp_path, run, clock):
    from trimaran.engine.collect import collect
    from trimaran.settings import parse

    root = str(tmp_path)
    settings = parse(b"[worker]\nmaxUsedSpace = 1\nreservedSpace = 1", "f")
    clock.offset = 365 * DAY
    with open_store(root) as store:
        collect(Cancel(), store, settings)
        run(keep(store, 1, 100))
        run(store.sync())
    os.utime(tmp_path / "collected", (time.time(), time.time()))
    clock.offset = 0
    with open_store(root) as store:
        assert collect(Cancel(), store, settings) > 0
