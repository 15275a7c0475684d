from __future__ import annotations

import asyncio

from trimaran.digest import Digest
from trimaran.solver.protocols import CacheRecord, KeyInput
from trimaran.store.store import open_store


def record(name: str, *, op: str = "op", created: int = 1) -> CacheRecord:
    return CacheRecord(
        key=Digest.of(name.encode()),
        op=Digest.of(op.encode()),
        inputs=(KeyInput("rootfs", "sha256:1"), KeyInput("context: src", "sha256:2")),
        results=(("a", "b"), ()),
        description="RUN true",
        created=created,
        seconds=1.5,
    )


def test_a_saved_record_is_found_at_once_and_later(tmp_path):
    one = record("one")
    with open_store(str(tmp_path)) as store:
        assert store.records.find(one.key) is None
        store.records.save(one)
        assert store.records.find(one.key) == one
        assert store.records.alike(one.op) == [one]
    with open_store(str(tmp_path)) as store:
        found = store.records.find(one.key)
        assert found == one
        assert isinstance(found.key, Digest)


def test_records_of_the_same_op_come_latest_first(tmp_path):
    with open_store(str(tmp_path)) as store:
        for number in (1, 3, 2):
            store.records.save(record(str(number), created=number))
        store.records.save(record("other", op="other", created=9))
    with open_store(str(tmp_path)) as store:
        assert store.records.alike(Digest.of(b"op")) == [record(str(number), created=number) for number in (3, 2, 1)]
        assert store.records.alike(Digest.of(b"none")) == []
        store.records.save(record("4", created=4))
        assert store.records.alike(Digest.of(b"op"), 2)[0] == record("4", created=4), "also if it is not written yet"


def test_dropped_is_gone(tmp_path):
    one = record("one")
    with open_store(str(tmp_path)) as store:
        store.records.save(one)
        store.records.drop(one.key)
        assert store.records.find(one.key) is None
        assert one not in store.records.alike(one.op)
    with open_store(str(tmp_path)) as store:
        assert store.records.find(one.key) is None


def test_a_record_that_cannot_be_read_is_a_miss(tmp_path):
    one = record("one")
    with open_store(str(tmp_path)) as store:
        store.records.save(one)
    with open_store(str(tmp_path)) as store:
        store.database.execute("UPDATE records SET body=x'00'").result()
        assert store.records.find(one.key) is None
        assert store.records.alike(one.op) == []


def test_names_that_are_no_text_can_be_recorded(store):
    odd = CacheRecord(key=Digest.of(b"k"), op=Digest.of(b"o"), inputs=(KeyInput("a\udcff", "v"),), results=())
    store.records.save(odd)
    asyncio.run(store.database.flush())
    store.records._pending.clear()
    found = store.records.find(odd.key)
    assert found is not None
    assert found.inputs == (KeyInput("a\\udcff", "v"),)


def test_one_holder_at_a_time_and_the_next_sees_its_record(tmp_path):
    key = Digest.of(b"one")
    trail = []

    async def work(store, name):
        async with store.records.lock(key):
            trail.append(f"{name} in")
            found = store.records.find(key)
            await asyncio.sleep(0.02)
            if found is None:
                store.records.save(record("one"))
                trail.append(f"{name} saved")
            trail.append(f"{name} out")

    async def main():
        with open_store(str(tmp_path)) as first, open_store(str(tmp_path)) as second:
            await asyncio.gather(work(first, "a"), work(second, "b"), work(first, "c"))

    asyncio.run(main())
    assert len([entry for entry in trail if entry.endswith("saved")]) == 1
    for start in range(0, len(trail), 1):
        if trail[start].endswith(" in"):
            assert trail[start + 1].split()[0] == trail[start].split()[0]


def test_memos_outlive_everything(tmp_path):
    with open_store(str(tmp_path)) as store:
        store.records.remember("sha256:stack", "etc/passwd", "sha256:x")
    with open_store(str(tmp_path)) as store:
        assert store.records.memo("sha256:stack", "etc/passwd") == "sha256:x"
        assert store.records.memo("sha256:stack", "etc/group") is None
