from __future__ import annotations

import sqlite3
import time

import pytest
from test_gc import folder_with

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.engine.collect import collect
from trimaran.errors import Conflict
from trimaran.settings import Settings, Space
from trimaran.solver.protocols import Account, Aspect, CacheRecord, Eviction, KeyInput, ReadList
from trimaran.store import tombstones
from trimaran.store.prune import PruneOptions
from trimaran.store.store import open_store

KEY = Digest.of(b"key")


def record(key: Digest = KEY, layer: str = "", place: str = "here") -> CacheRecord:
    account = Account(place=place, aspects=(Aspect("command", "", "ab"),), lists=(ReadList(0, b"x" * 16, 3),))
    return CacheRecord(
        key=key, op=key, inputs=(KeyInput("rootfs 0", "a"),), results=((layer,),), description="RUN it", account=account
    )


@pytest.fixture
def filled(tmp_path, run):
    path = str(tmp_path / "store")
    with open_store(path) as store:
        layer = run(store.layers.add_upper(folder_with(store, "f"), ()))
        store.records.save(record(layer=layer))
        run(store.sync())
    return path


def test_what_prune_takes_is_remembered_without_its_results(filled, run):
    before = time.time_ns()
    with open_store(filled) as store:
        list(store.collector.prune(Cancel(), PruneOptions(all=True)))
    with open_store(filled) as store:
        assert store.records.find(KEY) is None
        stone = tombstones.find(store.database, KEY)
        assert stone.why == Eviction(cause="prune")
        assert before <= stone.at <= time.time_ns()
        assert stone.record.results == ()
        assert stone.record.account == Account(place="here", aspects=(Aspect("command", "", "ab"),))
        assert tombstones.latest(store.database, "here") == stone
        assert tombstones.latest(store.database, "there") is None
        store.records.save(record())
        run(store.database.flush())
        assert tombstones.find(store.database, KEY) is None


def test_what_a_limit_takes_says_so(filled):
    with open_store(filled) as store:
        assert collect(Cancel(), store, Settings(cache_limit=Space(bytes=1))) > 0
        assert tombstones.find(store.database, KEY).why == Eviction(cause="limit", limit=1)


def test_what_has_no_bytes_is_remembered_as_lost(tmp_path, run):
    with open_store(str(tmp_path)) as store:
        layer = run(store.layers.add_upper(folder_with(store, "f"), ()))
        store.records.save(record(layer=layer))
        run(store.sync())
        store.database.execute("DELETE FROM snapshots").result()
    with open_store(str(tmp_path)) as store:
        store.collector.sweep(Cancel())
        assert tombstones.find(store.database, KEY).why.cause == "lost"


def test_only_the_latest_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(tombstones, "MOST", 10)
    keys = [Digest.of(b"%d" % number) for number in range(25)]
    with open_store(str(tmp_path)) as store:
        for key in keys:
            store.records.save(record(key))
        for key in keys:
            store.database.write_now(
                lambda connection, key=key: tombstones.bury(connection, [key], Eviction(cause="fsck"))
            )
        assert [key for key in keys if tombstones.find(store.database, key)] == keys[-10:]
        assert store.database.row("SELECT count(*) FROM records") == (0,)


def test_a_store_of_format_1_is_carried_over(filled):
    connection = sqlite3.connect(f"{filled}/store.db")
    for name in ("tombstones", "pages"):
        connection.execute(f"DROP TABLE {name}")
    connection.execute("DROP INDEX records_by_place")
    for name in ("place", "lists"):
        connection.execute(f"ALTER TABLE records DROP COLUMN {name}")
    for table in ("layers", "records", "images"):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN sum")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    with open_store(filled) as store:
        assert store.records.find(KEY) is None, "its key was made by other rules"
        assert tombstones.find(store.database, KEY) is None
        assert store.database.query("SELECT * FROM pages") == []


def test_another_programs_database_of_format_1_is_left_alone(tmp_path):
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("CREATE TABLE records(key)")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    with pytest.raises(Conflict, match="another program"):
        open_store(str(tmp_path))
