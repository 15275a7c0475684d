from __future__ import annotations

import os
from contextlib import suppress

import pytest
from test_images import image
from test_layers import archive, listed

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.solver.protocols import CacheRecord
from trimaran.store.prune import PruneOptions
from trimaran.store.store import open_store
from trimaran.store.usage import INTERNAL


def prune(store, **options):
    return list(store.collector.prune(Cancel(), PruneOptions(**options)))


TOLERANCE = 64 << 10
"""What the databases may grow by while they are asked."""


def usage(store):
    """Layers, cache mounts and repositories; not what the store takes for itself."""
    return [record for record in store.collector.usage(Cancel()) if record.type != INTERNAL]


def folder_with(store, name: str, size: int = 5000) -> str:
    folder = store.snapshots.folders.temporary()
    with open(os.path.join(folder, name), "wb") as file:
        file.write(b"x" * size)
    return folder


@pytest.fixture
def filled(tmp_path, run):
    """A store with a COPY layer as blob, a RUN layer on it and one more on that, and a record."""
    path = str(tmp_path / "store")
    with open_store(path) as store:
        copied = run(store.layers.add(*listed({"a": b"1" * 1000})))
        run(store.layers.settle([copied]))
        first = run(store.layers.add_upper(folder_with(store, "f"), (copied,)))
        second = run(store.layers.add_upper(folder_with(store, "s"), (copied, first), description="RUN second"))
        key = Digest.of(b"key")
        store.records.save(CacheRecord(key=key, op=key, inputs=(), results=((copied, first),), description="RUN first"))
        run(store.sync())
    return path, (copied, first, second)


def files(path: str) -> set[str]:
    return {
        os.path.join(folder, name)
        for part in ("blobs", "snapshots", "temp", "live")
        for folder, _, names in os.walk(os.path.join(path, part))
        for name in names
    }


def test_du_tells_what_there_is(filled, run):
    path, (copied, first, second) = filled
    with open_store(path) as store:
        records = {record.id: record for record in usage(store)}
        assert set(records) == {copied, first, second}
        assert records[second].parents == (first,)
        assert records[second].description == "RUN second"
        assert records[first].description == "RUN first"
        assert records[first].size >= 8192
        assert 0 < records[copied].size <= 4096
        assert all(record.reclaimable and not record.shared for record in records.values())
        assert store.layers.present(first)
        store.last_use.flush()
        run(store.database.flush())
        again = {record.id: record for record in usage(store)}
        assert again[first].in_use
        assert (again[first].usage_count, again[second].usage_count) == (2, 1), "making it is a use"


def test_prune_frees_everything_from_the_top(filled):
    path, (copied, first, second) = filled
    with open_store(path) as store:
        freed = prune(store)
        assert [record.id for record in freed] in ([second, first, copied], [copied, second, first])
        assert freed[0].id != first
        assert store.records.find(Digest.of(b"key")) is None
        assert not store.layers.present(copied)
    assert files(path) == set()


def test_what_a_living_build_uses_stays(filled):
    path, (copied, first, second) = filled
    with open_store(path) as builder, open_store(path) as store:
        assert builder.layers.present(first)
        assert builder.layers.present(copied)
        assert [record.id for record in prune(store, all=True)] == [second]
        assert os.path.exists(os.path.join(builder.layers._places._folders[first], "f"))
    with open_store(path) as store:
        assert len(prune(store)) == 2


def test_a_stack_never_loses_its_middle(filled):
    path, (copied, first, second) = filled
    with open_store(path) as builder, open_store(path) as store:
        assert builder.layers.present(second)
        assert prune(store) == []


def test_down_to_a_size_the_least_used_goes_first(filled):
    path, (copied, first, second) = filled
    with open_store(path) as store:
        total = sum(record.size for record in store.collector.usage(Cancel()))
        planned = store.collector.plan(Cancel(), PruneOptions(max_used=total - 1))
        freed = prune(store, max_used=total - 1)
        assert len(freed) == 1
        assert freed == planned
        left = sum(record.size for record in store.collector.usage(Cancel()))
        assert prune(store, max_used=left + (1 << 20)) == []  # the databases grow by what is asked of them
        assert prune(store, reserved=left + (1 << 20), max_used=1) == []


def test_images_keep_their_blobs(tmp_path, run):
    with open_store(str(tmp_path)) as store:
        index, parts = image(store)
        layer = parts[0]
        store.layers.register_blob(Digest.of(b"diff"), layer)
        run(store.images.put("app:v1", index))
    with open_store(str(tmp_path)) as store:
        (record,) = usage(store)
        assert record.shared
        assert prune(store) == []
        assert prune(store, all=True) == []
    with open_store(str(tmp_path)) as store:
        for each in (index, *parts):
            assert run(store.content.has(each))
        run(store.images.remove("app:v1"))
    with open_store(str(tmp_path)) as store:
        assert [freed.id for freed in prune(store)] == [Digest.of(b"diff")]
    assert files(str(tmp_path)) == set()


def test_an_images_unpacked_folders_go_with_all(tmp_path, run):
    tar = archive({"a": b"1" * 10_000})
    with open_store(str(tmp_path)) as store:
        layer = store.content.put(tar, "application/vnd.oci.image.layer.v1.tar")
        manifest = b'{"layers":[{"mediaType":"%s","digest":"%s","size":%d}]}'
        body = manifest % (layer.media_type.encode(), str(layer.digest).encode(), layer.size)
        top = store.content.put(body, "application/vnd.oci.image.manifest.v1+json")
        identifier = store.layers.register_blob(Digest.of(tar), layer)
        folder = run(store.layers.folder(identifier))
        run(store.images.put("app", top))
    with open_store(str(tmp_path)) as store:
        assert prune(store) == []
        (freed,) = prune(store, all=True)
        assert 0 < freed.size < 10_000 + 3 * 4096 + 4096
        assert not os.path.exists(folder)
    with open_store(str(tmp_path)) as store:
        assert store.layers.present(identifier)
        assert os.listdir(run(store.layers.folder(identifier))) == ["a"]


def test_documents_nobody_names_go_when_their_build_is_over(tmp_path, run):
    with open_store(str(tmp_path)) as builder:
        loose = builder.content.put(b"{}", "application/json")
        with open_store(str(tmp_path)) as store:
            prune(store)
            assert run(builder.content.has(loose))
    with open_store(str(tmp_path)) as store:
        prune(store)
    assert files(str(tmp_path)) == set()


def test_garbage_of_crashes_is_swept(tmp_path):
    with open_store(str(tmp_path)) as store:
        os.mkdir(os.path.join(store.root, "snapshots", "77"))
        with open(os.path.join(store.root, "blobs/sha256", "0" * 64), "w"):
            pass
        store.database.execute(
            "INSERT INTO snapshots(layer, form, boot, created) VALUES(?, 'plain', '', 0)",
            ("\0/x/temp/dead/snapshot-1",),
        ).result()
        prune(store)
        assert store.database.query("SELECT * FROM snapshots") == []
        assert os.listdir(os.path.join(store.root, "snapshots")) == []
        assert os.listdir(os.path.join(store.root, "blobs/sha256")) == []


@pytest.mark.parametrize("moment", ["gc condemned", "gc rows"])
def test_a_build_that_comes_while_the_collector_works(filled, monkeypatch, run, moment):
    """Whatever the moment: the build either has the layer for good or is told that it is gone."""
    from trimaran.store import failpoints

    path, (copied, first, second) = filled
    with open_store(path) as builder, open_store(path) as store:
        seen = []

        def look(place):
            if place == moment and not seen:
                seen.append(builder.layers.present(second))

        monkeypatch.setattr(failpoints, "hook", look)
        prune(store)
        monkeypatch.setattr(failpoints, "hook", None)
        assert seen
        if seen[0]:
            assert os.path.isdir(run(builder.layers.folder(second)))
        else:
            assert moment


def st_blocks(path: str) -> int:
    """Everything under `path`, each inode once, measured by other means than the store's own; others may write there."""
    seen = {}
    for folder, folders, names in os.walk(path):
        for name in (".", *folders, *names):
            with suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))
                seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def test_du_is_what_the_disk_says(filled, run):
    path, _ = filled
    with open_store(path) as store:
        index, parts = image(store)
        store.layers.register_blob(Digest.of(b"diff"), parts[0])
        run(store.images.put("app:v1", index))
        store.content.put(b"nobody names me" * 9000, "application/json")
        os.makedirs(os.path.join(path, "builds", "one"))
        with open(os.path.join(path, "builds", "one", "1.log"), "wb") as file:
            file.write(b"x" * 30_000)
        os.mkdir(os.path.join(path, "snapshots", "4711"))
        with open(os.path.join(path, "snapshots", "4711", "left by a crash"), "wb") as file:
            file.write(b"x" * 50_000)

        async def mount():
            async with store.cache_mounts.hold("/root/.cache", "shared") as folder:
                with open(os.path.join(folder, "sparse"), "wb") as file:
                    file.truncate(1 << 30)
                    file.write(b"x" * 70_000)

        run(mount())
        run(store.sync())
    with open_store(path) as store:
        total = sum(record.size for record in store.collector.usage(Cancel()))
        assert abs(total - st_blocks(path)) <= TOLERANCE
        list(store.collector.prune(Cancel(), PruneOptions(all=True)))
        total = sum(record.size for record in store.collector.usage(Cancel()))
        assert abs(total - st_blocks(path)) <= TOLERANCE
