from __future__ import annotations

import os
import random
import sqlite3

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.solver.protocols import Account, CacheRecord, ReadList
from trimaran.store import pages
from trimaran.store.entries import FILE, FOLDER, Entry, EntryList
from trimaran.store.folder import Inline
from trimaran.store.page_rows import read_pages
from trimaran.store.prune import PruneOptions
from trimaran.store.store import open_store


def tree(count: int, *, changed: frozenset[int] = frozenset(), folders: int = 50) -> EntryList:
    generator = random.Random(7)
    entries = [Entry(f"src/{n:03d}", FOLDER, 0o755) for n in range(folders)]
    for n in range(count):
        digest = "sha256:" + generator.randbytes(32).hex()
        if n in changed:
            digest = Digest.of(f"changed {n}".encode())
        entries.append(Entry(f"src/{n % folders:03d}/file-{n}.py", FILE, 0o644, mtime=n, size=n, digest=str(digest)))
    return EntryList.of(entries)


class Kept(dict[bytes, bytes]):
    """Pages as the database keeps them, counting what is read."""

    def __init__(self) -> None:
        self.asked = 0

    def add(self, paged: pages.Paged) -> int:
        """Bytes that were new."""
        fresh = {page: body for page, body in paged.pages if page not in self}
        self.update(fresh)
        return sum(map(len, fresh.values())) + len(paged.top)

    def read(self, ids):
        self.asked += len(ids)
        return {page: self[page] for page in ids if page in self}


@pytest.mark.parametrize("folders", [1, 50])
def test_one_changed_file_of_20000_costs_kilobytes(folders):
    kept = Kept()
    before = pages.paged(tree(20_000, folders=folders))
    first = kept.add(before)
    after = pages.paged(tree(20_000, changed=frozenset({12_345}), folders=folders))
    assert first > 500_000
    assert kept.add(after) < 20_000
    kept.asked = 0
    ((was, now),) = pages.difference(before.top, after.top, kept.read)
    assert was.path == now.path == f"src/{12_345 % folders:03d}/file-12345.py"
    assert was.digest != now.digest
    assert kept.asked < 100  # of 300 pages of entries


def test_files_that_come_and_go_move_no_other_pages():
    kept = Kept()
    whole = tree(20_000)
    before = pages.paged(whole)
    kept.add(before)
    less = EntryList(tuple(entry for entry in whole if "file-777." not in entry.path))
    after = pages.paged(less)
    assert kept.add(after) < 20_000
    ((was, now),) = pages.difference(before.top, after.top, kept.read)
    assert (was.path, now) == ("src/027/file-777.py", None)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 700), st.frozensets(st.integers(0, 699), max_size=5), st.booleans())
def test_joined_is_what_was_paged_and_difference_what_a_comparison_says(count, changed, odd):
    one, other = tree(count, folders=3), tree(count, changed=changed, folders=3)
    if odd:
        other = EntryList.of([*other, Entry("zz\udcff", FILE, 0o644, digest="x")])
    kept = Kept()
    tops = []
    for each in (one, other):
        paged = pages.paged(each)
        kept.add(paged)
        tops.append(paged.top)
        assert pages.joined(paged.top, kept.read) == each
    was, now = ({entry.path: entry for entry in each} for each in (one, other))
    expected = {path for path in was | now if was.get(path) != now.get(path)}
    found = pages.difference(*tops, kept.read)
    assert {(b or a).path for b, a in found} == expected
    assert all(was.get((b or a).path) == b and now.get((b or a).path) == a for b, a in found)


def test_a_list_with_a_page_gone_is_no_list():
    kept = Kept()
    paged = pages.paged(tree(1000))
    kept.add(paged)
    del kept[paged.pages[3][0]]
    assert pages.joined(paged.top, kept.read) is None
    assert pages.difference(paged.top, pages.paged(tree(1000, changed=frozenset(range(1000)))).top, kept.read) is None


def rows(store) -> int:
    return store.database.row("SELECT count(*) FROM pages")[0]


def test_layers_share_pages_and_lists_come_back(tmp_path, run):
    lists = [tree(5_000, changed=frozenset(range(n))) for n in range(3)]
    with open_store(str(tmp_path)) as store:
        for number, entries in enumerate(lists):
            store.layers.lists.store(f"layer-{number}", entries)
        run(store.database.flush())
        assert rows(store) < 5_000 / 64 * 1.5
    with open_store(str(tmp_path)) as store:
        for number, entries in enumerate(lists):
            assert store.layers.lists.get(f"layer-{number}") == entries


def test_a_record_and_a_layer_of_20000_files_with_one_changed_cost_kilobytes(tmp_path, run):
    def size() -> int:
        with open_store(str(tmp_path)) as store:
            store.database.write_now(lambda connection: connection.execute("SELECT 1"))
        sqlite3.connect(tmp_path / "store.db").execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return os.stat(tmp_path / "store.db").st_blocks * 512

    def keep(name: str, changed: frozenset[int]) -> None:
        entries = tree(20_000, changed=changed)
        read = pages.paged(
            EntryList(tuple(msgspec.structs.replace(e, mtime=0, digest=e.digest[7:23]) for e in entries))
        )
        account = Account(lists=(ReadList(0, pages.page_id(read.top), 20_000),))
        key = Digest.of(name.encode())
        with open_store(str(tmp_path)) as store:
            store.layers.lists.store(name, entries)
            store.records.save(CacheRecord(key=key, op=key, inputs=(), results=((name,),), account=account), read.all)
            run(store.database.flush())

    keep("one", frozenset())
    first = size()
    keep("two", frozenset({12_345}))
    assert size() - first < 64_000 < first // 10


def test_pages_live_as_long_as_a_record_or_layer_names_them(tmp_path, run):
    entries = EntryList.of(Entry(f"f{n}", FILE, 0o644, size=1, digest=str(Digest.of(b"x"))) for n in range(500))
    read = pages.paged(tree(500))
    key = Digest.of(b"key")
    with open_store(str(tmp_path)) as store:
        layer = run(store.layers.add(entries, {entry.path: Inline(b"x") for entry in entries}))
        run(store.layers.settle([layer]))
        account = Account(lists=(ReadList(0, pages.page_id(read.top), 500),))
        record = CacheRecord(key=key, op=key, inputs=(), results=((layer,),), account=account)
        store.records.save(record, read.all)
        run(store.sync())
    with open_store(str(tmp_path)) as store:
        list(store.collector.prune(Cancel(), PruneOptions(filters=("id==nothing",))))
        assert rows(store) == len(pages.paged(entries).pages) + len(read.all)
        found = store.records.find(key)
        assert found == record
        top = found.account.lists[0].top
        assert pages.joined(read_pages(store.database, [top])[top], lambda ids: read_pages(store.database, ids)) == (
            tree(500)
        )
    with open_store(str(tmp_path)) as store:
        store.records.drop(key)
        list(store.collector.prune(Cancel(), PruneOptions(filters=("id==nothing",))))
        assert rows(store) == len(pages.paged(entries).pages)
        list(store.collector.prune(Cancel(), PruneOptions(all=True)))
        assert rows(store) == 0


@pytest.mark.parametrize("damage", ["a page", "the top"])
def test_a_damaged_list_is_made_again(tmp_path, run, damage):
    entries = EntryList.of(Entry(f"f{n}", FILE, 0o644, size=1, digest=str(Digest.of(b"x"))) for n in range(500))
    with open_store(str(tmp_path)) as store:
        layer = run(store.layers.add(entries, {entry.path: Inline(b"x") for entry in entries}))
        run(store.layers.settle([layer]))
        run(store.sync())
        if damage == "a page":
            page, body = store.database.row("SELECT id, body FROM pages LIMIT 1")
            store.database.execute("UPDATE pages SET body=? WHERE id=?", (body[:-9] + b"?" + body[-8:], page)).result()
        else:
            store.database.execute("UPDATE layers SET entries=x'78ff' WHERE id=?", (layer,)).result()
    with open_store(str(tmp_path)) as store:
        found = run(store.layers.entries(layer))
        assert [entry.path for entry in found] == [entry.path for entry in entries]
        run(store.database.flush())
    with open_store(str(tmp_path)) as store:
        assert store.layers._rows.entries(layer) is not None, "it was written again"


def test_pages_do_not_depend_on_who_made_them():
    assert pages.paged(tree(1000)) == pages.paged(EntryList(tuple(msgspec.structs.replace(e) for e in tree(1000))))
