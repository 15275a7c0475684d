"""What the store remembers without bytes of it: it is seen, it counts, it goes, and the disk gets its room back."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
from test_ceiling import keep
from test_gc import TOLERANCE, folder_with, prune, st_blocks

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.solver.protocols import CacheRecord, Eviction, KeyInput
from trimaran.store import remembered, tombstones
from trimaran.store.free_pages import give_back, size
from trimaran.store.layer_lists import NOTHING
from trimaran.store.prune import PruneOptions
from trimaran.store.remembered import REMEMBERED
from trimaran.store.store import open_store

MIB = 1 << 20
DEPTH = 100


def record(number: int, *stack: str) -> CacheRecord:
    key = Digest.of(b"key %d" % number)
    inputs = (KeyInput("copy 0: file", "x" * 200),)
    return CacheRecord(key=key, op=key, inputs=inputs, results=(stack,), description=f"COPY {number}")


def copies(store, run, count: int) -> None:
    """Records of a chain of COPY, none of whose layers was kept."""
    layers = [str(Digest.of(b"layer %d" % number)) for number in range(DEPTH)]
    for number in range(count):
        store.records.save(record(number, *layers[: number % DEPTH + 1]))
    run(store.database.flush())


def row(store):
    return next((each for each in store.collector.usage(Cancel()) if each.id == REMEMBERED), None)


def counts(store) -> tuple[int, ...]:
    tables = ("records", "record_layers", "memos", "fast.stat", "fast.used")
    return tuple(store.database.row(f"SELECT count(*) FROM {table}")[0] for table in tables)


def test_records_of_copies_are_seen_and_go_with_the_room_they_took(tmp_path, run):
    root = str(tmp_path)
    with open_store(root) as store:
        assert row(store) is None
        copies(store, run, 2000)
        store.records.remember("stack", "selector", "value")
    with open_store(root) as store:
        found = row(store)
        assert not found.in_use
        assert 0.5 < found.size / os.path.getsize(f"{root}/store.db") < 1.1
        assert abs(sum(each.size for each in store.collector.usage(Cancel())) - st_blocks(root)) <= TOLERANCE
        before = st_blocks(root)
        assert [each.id for each in store.collector.plan(Cancel(), PruneOptions())] == [REMEMBERED]
        assert prune(store, filters=("type=exec.cachemount",)) == []
        assert prune(store, keep_duration=10**18) == []
        assert counts(store)[0] == 2000
        (gone,) = prune(store)
        assert gone.size > 4 * MIB
        assert abs(before - gone.size - st_blocks(root)) < TOLERANCE
        assert counts(store) == (0, 0, 0, 0, 0)
        assert row(store) is None
        assert tombstones.find(store.database, Digest.of(b"key 1999")).why == Eviction(cause="prune")


def test_a_record_is_noted_at_two_layers_and_not_at_all_of_its_stack(tmp_path, run):
    """So that a graph of n steps has n rows and not their square: of a store of 10,000 copies 60 MB instead of 230."""
    with open_store(str(tmp_path)) as store:
        copies(store, run, 1000)
        assert counts(store)[1] == 1000
        store.records.save(record(5000, "a", "run-1", "b", "run-2", "c", "d"))
        run(store.database.flush())
        rows = store.database.query("SELECT layer FROM record_layers WHERE key=?", (Digest.of(b"key 5000"),))
        assert {layer for (layer,) in rows} == {"run-2", "d"}
        store.records.save(record(5001, "base", NOTHING))
        run(store.database.flush())
        rows = store.database.query("SELECT layer FROM record_layers WHERE key=?", (Digest.of(b"key 5001"),))
        assert rows == [("base",)], "nothing is always there"


@pytest.mark.parametrize("taken", ["run", "copied"])
def test_a_record_ends_with_the_layers_it_is_noted_at(tmp_path, run, taken):
    """The top, and the topmost that a process made, also where what was copied on it has no bytes here."""
    with open_store(str(tmp_path)) as store:
        base = run(store.layers.add_upper(folder_with(store, "base"), ()))
        top = run(store.layers.add_upper(folder_with(store, "top"), (base,)))
        copied = run(keep(store, 1, 5000))
        store.records.save(record(1, base, top, "sha256:not-here"))
        store.records.save(record(2, base, top, copied))
        store.records.save(record(3, base))
        run(store.sync())
    with open_store(str(tmp_path)) as store:
        prune(store, filters=(f"id={top if taken == 'run' else copied}",))
        left = {number for number in (1, 2, 3) if store.records.find(Digest.of(b"key %d" % number))}
        assert left == ({3} if taken == "run" else {1, 3})


def test_a_layer_lost_from_the_middle_takes_the_records_above_it(tmp_path, run):
    with open_store(str(tmp_path)) as store:
        base = run(store.layers.add_upper(folder_with(store, "base"), ()))
        top = run(store.layers.add_upper(folder_with(store, "top"), (base,)))
        store.records.save(record(1, base, top, "sha256:not-here"))
        store.records.save(record(2, "run-else"))
        run(store.sync())
        store.collector.drop(base, Eviction(cause="fsck"))
        assert store.records.find(Digest.of(b"key 1")) is None or counts(store)[0] == 1
    with open_store(str(tmp_path)) as store:
        assert store.records.find(Digest.of(b"key 1")) is None
        assert store.records.find(Digest.of(b"key 2"))


def test_only_so_much_is_remembered_and_what_was_used_last(tmp_path, run, monkeypatch):
    monkeypatch.setattr(remembered, "MOST_RECORDS", 10)
    monkeypatch.setattr(remembered, "MOST_MEMOS", 3)
    with open_store(str(tmp_path)) as store:
        kept = run(store.layers.add_upper(folder_with(store, "f"), ()))
        copies(store, run, 30)
        store.records.save(record(100, kept))
        for number in range(4):
            store.records.remember("stack", f"{number}", "value")
        run(store.sync())
    with open_store(str(tmp_path)) as store:
        assert store.records.find(Digest.of(b"key 3"))
    with open_store(str(tmp_path)) as store:
        store.collector.sweep(Cancel())
        assert counts(store)[:3] == (11, 11, 0)
        assert store.records.find(Digest.of(b"key 3")), "used last"
        assert store.records.find(Digest.of(b"key 100")), "its layer is here: it goes with that"
        assert store.database.row("SELECT count(*) FROM fast.used WHERE kind='record'") == (11,)


def test_under_a_limit_it_goes_first_where_it_is_much(tmp_path, run):
    """A database that only ever grew would end every build of a small store."""
    root = str(tmp_path)
    with open_store(root) as store:
        copies(store, run, 3000)
    full = size(root)
    assert full > 8 * MIB
    with open_store(root) as store:
        store.ceiling.limit = full + 2 * MIB
        layers = [run(keep(store, number)) for number in range(6)]
        run(store.sync())
        assert st_blocks(root) <= store.ceiling.limit + MIB
    with open_store(root) as store:
        assert all(store.layers.present(layer) for layer in layers)
        assert counts(store)[0] == 0


def test_a_database_in_use_is_left_as_it_is_and_shrunk_by_the_next(tmp_path, run):
    root = str(tmp_path)
    with open_store(root) as store:
        copies(store, run, 2000)
        full = size(root)
        give_back(store.database)
        assert size(root) == full, "nothing is free"
        store.database.write_now(lambda connection: remembered.forget(connection, Eviction(cause="prune")))
        with closing(sqlite3.connect(f"{root}/store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            give_back(store.database)
            assert size(root) >= full
            other.execute("ROLLBACK")
            assert store.database.row("PRAGMA integrity_check") == ("ok",)
            give_back(store.database)
            assert size(root) < full - 2 * MIB
        assert store.database.row("SELECT count(*) FROM tombstones") == (2000,)
        copies(store, run, 10)
    with open_store(root) as store:
        assert counts(store)[0] == 10
