from __future__ import annotations

import asyncio
import os
import sqlite3
import threading

import pytest

from trimaran.errors import Conflict, Corrupt, Denied, NotFound
from trimaran.store.database import VERSION, open_database
from trimaran.store.store import open_store


def test_a_write_is_seen_by_the_next_read(tmp_path):
    database = open_database(str(tmp_path), readonly=False)
    database.write_now(lambda c: c.execute("INSERT INTO memos VALUES('a', 'b', 'c')"))
    assert database.row("SELECT value FROM memos") == ("c",)
    database.close()


def test_an_error_undoes_its_own_job_alone(tmp_path):
    database = open_database(str(tmp_path), readonly=False)
    gate = threading.Event()
    database.submit(lambda _: gate.wait())  # so that the next three share a transaction
    good = database.execute("INSERT INTO memos VALUES('a', 'b', 'c')")

    def bad(connection):
        connection.execute("INSERT INTO memos VALUES('x', 'y', 'z')")
        raise Conflict("no")

    failed = database.submit(bad)
    later = database.execute("INSERT INTO memos VALUES('d', 'e', 'f')")
    gate.set()
    good.result()
    later.result()
    with pytest.raises(Conflict):
        failed.result()
    assert database.query("SELECT stack FROM memos ORDER BY stack") == [("a",), ("d",)]
    database.close()


def test_closing_commits_what_was_submitted(tmp_path):
    database = open_database(str(tmp_path), readonly=False)
    for number in range(1000):
        database.execute("INSERT INTO memos VALUES(?, '', '')", (str(number),))
    database.close()
    database.close()
    again = open_database(str(tmp_path), readonly=False)
    assert again.row("SELECT count(*) FROM memos") == (1000,)
    again.close()
    with pytest.raises(Conflict):
        database.execute("DELETE FROM memos")


def test_another_versions_store_is_refused_by_name(tmp_path):
    open_store(str(tmp_path)).close()
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    with pytest.raises(Conflict, match=f"format {VERSION + 1}") as caught:
        open_store(str(tmp_path))
    assert "TRIMARAN_ROOT" in caught.value.hint


def test_somebody_elses_database_is_not_touched(tmp_path):
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("CREATE TABLE mine(a)")
    connection.commit()
    connection.close()
    before = (tmp_path / "store.db").read_bytes()
    with pytest.raises(Conflict, match="another program"):
        open_store(str(tmp_path))
    assert (tmp_path / "store.db").read_bytes() == before


def test_a_broken_main_database_is_said_to_be_so(tmp_path):
    (tmp_path / "store.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(Corrupt, match="not a database") as caught:
        open_store(str(tmp_path))
    assert "fsck --repair" in caught.value.hint


def test_a_broken_fast_database_is_thrown_away(tmp_path):
    with open_store(str(tmp_path)) as store:
        store.records.remember("stack", "selector", "value")
    (tmp_path / "fast.db").write_bytes(b"not a database" * 1000)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"fast.db{suffix}").unlink(missing_ok=True)
    with open_store(str(tmp_path)) as store:
        assert store.records.memo("stack", "selector") == "value"


def test_reading_an_absent_store_makes_nothing(tmp_path):
    with pytest.raises(NotFound):
        open_store(str(tmp_path / "no"), readonly=True)
    assert not (tmp_path / "no").exists()


def test_a_readonly_store_takes_no_writes(tmp_path):
    open_store(str(tmp_path)).close()
    with open_store(str(tmp_path), readonly=True) as store, pytest.raises(Denied):
        store.database.execute("DELETE FROM blobs")


def test_the_store_is_for_its_owner_alone(tmp_path):
    """T49, whatever the umask is."""
    old = os.umask(0)
    try:
        with open_store(str(tmp_path / "store")) as store:
            store.content.put(b"{}", "application/json")
            store.pins.pin("x")
    finally:
        os.umask(old)
    for folder, folders, _ in os.walk(tmp_path / "store"):
        for name in folders:
            assert os.stat(os.path.join(folder, name)).st_mode & 0o077 == 0
    assert os.stat(tmp_path / "store").st_mode & 0o777 == 0o700


def test_two_processes_make_one_store(tmp_path):
    import subprocess
    import sys

    code = "import sys; from trimaran.store.store import open_store; s=open_store(sys.argv[1]); s.records.remember(sys.argv[2],'','x'); s.close()"
    many = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s"), str(n)]) for n in range(4)]
    assert [process.wait() for process in many] == [0, 0, 0, 0]
    with open_store(str(tmp_path / "s"), readonly=True) as store:
        assert store.database.row("SELECT count(*) FROM memos") == (4,)


def test_a_waiter_that_is_cancelled_takes_nothing_from_others(tmp_path):
    """Its job is written all the same, and so are those of others in the same transaction and later ones."""
    database = open_database(str(tmp_path), readonly=False)
    gate = threading.Event()

    def insert(name):
        return lambda connection: connection.execute("INSERT INTO memos VALUES(?, '', '')", (name,))

    async def main():
        blocked = database.submit(lambda _: gate.wait(10))
        given_up = asyncio.ensure_future(database.write(insert("given up")))
        waiting = asyncio.ensure_future(database.write(insert("waiting")))
        await asyncio.sleep(0.05)
        given_up.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wait_for(waiting, 10)
        await asyncio.wait_for(database.write(insert("later")), 10)
        assert blocked.result()

    asyncio.run(main())
    assert {name for (name,) in database.query("SELECT stack FROM memos")} == {"given up", "waiting", "later"}
    database.close()
