"""A store with 10,000 records: `du` and `prune` stay quick, and their cost grows with the store, not faster."""

from __future__ import annotations

import os
import time
from functools import partial

import pytest

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.solver.protocols import CacheRecord, KeyInput
from trimaran.store.layer_rows import LayerBlob, insert_blob, insert_layer
from trimaran.store.packing import pack
from trimaran.store.prune import PruneOptions
from trimaran.store.store import open_store
from trimaran.store.tombstones import MOST
from trimaran.store.usage import INTERNAL

DEPTH = 20
"""Layers of one stack: every tenth is a folder, the others are blobs."""


def fill(root: str, count: int) -> None:
    """`count` layers in stacks of DEPTH with their bytes on disk, a record each, all used once."""
    from trimaran.oci.descriptor import Descriptor

    with open_store(root) as store:
        stack: list[str] = []

        def job(connection) -> None:
            for number in range(count):
                if number % DEPTH == 0:
                    stack.clear()
                digest = Digest.of(b"%d" % number)
                layer = f"run-{digest.hex[:24]}"
                if number % 10:
                    with open(store.content.path(digest), "wb") as file:
                        file.write(b"x" * 100)
                    connection.execute(
                        "INSERT INTO blobs(digest, size, media_type, created) VALUES(?,100,'x',?)", (digest, number)
                    )
                    made = LayerBlob(Descriptor(media_type="x", digest=digest, size=100), digest)
                    insert_blob(connection, layer, "gzip", made)
                row = (layer, "plain", 4096, "boot", number)
                if not number % 10:
                    cursor = connection.execute(
                        "INSERT INTO snapshots(layer, form, size, boot, created) VALUES(?,?,?,?,?)", row
                    )
                    os.mkdir(os.path.join(root, "snapshots", str(cursor.lastrowid)))
                insert_layer(connection, layer, parents=" ".join(stack))
                stack.append(layer)
                key = Digest.of(b"key %d" % number)
                inputs = tuple(KeyInput(f"rootfs {part}", layer) for part in range(8))
                record = CacheRecord(
                    key=key, op=key, inputs=inputs, results=(tuple(stack),), description=f"RUN {number}", seconds=0.5
                )
                connection.execute(
                    "INSERT INTO records(key, op, body, created) VALUES(?,?,?,?)", (key, key, pack(record), number)
                )
                connection.execute("INSERT INTO record_layers VALUES(?,?)", (key, layer))

        os.makedirs(os.path.join(root, "blobs", "sha256"), exist_ok=True)
        store.database.write_now(job)
        for number in range(0, count, 3):
            store.last_use.bump("layer", f"run-{Digest.of(b'%d' % number).hex[:24]}")


def seconds(work) -> float:
    """Of this process's processor time: other tenants of the machine do not count."""
    before = time.process_time()
    work()
    return time.process_time() - before


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> str:
    root = str(tmp_path_factory.mktemp("large"))
    fill(root, 10_000)
    return root


def test_du_and_plan_of_10000_records(large, tmp_path):
    fill(str(tmp_path), 1000)
    taken = {}
    for root, count in ((str(tmp_path), 1000), (large, 10_000)):
        with open_store(root) as store:
            collector = store.collector
            records = collector.usage(Cancel())
            assert sum(record.type != INTERNAL for record in records) == count
            half = PruneOptions(max_used=sum(record.size for record in records) // 2)
            planned = collector.plan(Cancel(), half)
            assert half.max_used - 8192 <= sum(record.size for record in planned) <= half.max_used + 8192
            assert sum(record.seconds for record in planned) == len(planned) * 0.5
            du, plan = partial(collector.usage, Cancel()), partial(collector.plan, Cancel(), half)
            taken[count] = [min(seconds(work) for _ in range(3)) for work in (du, plan)]
    print(f"du and prune --dry-run, of 1,000 and 10,000 records: {taken} s")
    assert max(taken[10_000]) < 0.5
    for small, great in zip(taken[1000], taken[10_000], strict=True):
        assert great < 25 * small


def test_pruning_a_store_of_10000_records(large):
    with open_store(large) as store:
        gone = []

        def prune(left: int) -> None:
            gone[:] = store.collector.prune(Cancel(), PruneOptions(max_used=left))

        took = []
        for _ in range(3):  # a machine that is busy takes its time, but not each time
            total = sum(record.size for record in store.collector.usage(Cancel()))
            took.append(seconds(partial(prune, total - 400_000)))
            assert 95 <= len(gone) <= 105
        print(f"{len(gone)} of 10,000 records pruned in {min(took):.2f} s")
        assert min(took) < 0.5
        left = {record.id for record in store.collector.usage(Cancel())}
        for layer, stack in store.database.query("SELECT id, parents FROM layers"):
            assert layer in left
            assert left.issuperset(stack.split())


def test_removing_all_of_10000_records(large):
    """Time grows with what goes, not with its square; the last of them are remembered."""
    with open_store(large) as store:
        count = sum(record.type != INTERNAL for record in store.collector.usage(Cancel()))
        gone = []
        took = seconds(lambda: gone.extend(store.collector.prune(Cancel(), PruneOptions(all=True))))
        print(f"{len(gone)} records removed in {took:.2f} s")
        assert len(gone) == count > 9000
        assert (
            took < 4
        )  # seconds of processors, of which 16 threads that unlink spin for most: it was 12.7 with squares in it
        for table in ("layers", "layer_blobs", "snapshots", "records", "record_layers", "blobs"):
            assert store.database.row(f"SELECT count(*) FROM {table}") == (0,), table
        assert store.database.row("SELECT count(*) FROM tombstones") == (MOST,)
    assert os.listdir(os.path.join(large, "snapshots")) == []
    assert os.listdir(os.path.join(large, "blobs", "sha256")) == []
