"""The one hard limit: never passed, kept by evicting what is used least, and never at the cost of a running build."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from test_gc import st_blocks
from test_images import image
from test_layers import listed, remote_layer

from trimaran.aio import Cancel
from trimaran.errors import Unavailable
from trimaran.store.ceiling import CHUNK
from trimaran.store.compression import Compression
from trimaran.store.store import open_store

MIB = 1 << 20
TOLERANCE = 1 * MIB
"""The databases are counted when the store is measured, not row by row."""
PLAIN = Compression("uncompressed")


async def keep(store, number: int, size: int = MIB):
    """A layer of `size` random bytes, as a blob."""
    layer = await store.layers.add(*listed({f"f{number}": os.urandom(size)}))
    await store.layers.blob(layer, PLAIN)
    return layer


def build(root, numbers, limit: int, size: int = MIB):
    """What one build does: layers, one by one; the largest the store ever was."""
    with open_store(str(root)) as store:
        store.ceiling.limit = limit
        most = 0
        layers = []
        for number in numbers:
            layers.append(asyncio.run(keep(store, number, size)))
            most = max(most, st_blocks(str(root)))
        asyncio.run(store.sync())
        return layers, most


def test_builds_stay_below_the_limit_and_the_oldest_goes(tmp_path):
    limit = 20 * MIB
    kept = []
    for first in range(0, 40, 4):
        layers, most = build(tmp_path, range(first, first + 4), limit)
        assert most <= limit + TOLERANCE
        kept.append(layers)
    with open_store(str(tmp_path)) as store:
        assert all(store.layers.present(layer) for layer in kept[-1])
        assert not any(store.layers.present(layer) for layer in kept[0])


def test_without_a_limit_nothing_is_measured_and_nothing_goes(tmp_path):
    layers, _ = build(tmp_path, range(6), 0)
    assert not os.path.exists(tmp_path / "ledger")
    with open_store(str(tmp_path)) as store:
        assert all(store.layers.present(layer) for layer in layers)


def test_a_build_that_cannot_fit_says_so_and_loses_nothing(tmp_path):
    earlier, _ = build(tmp_path, range(3), 0)
    with pytest.raises(Unavailable) as caught:
        build(tmp_path, range(10, 30), 8 * MIB)
    assert "cache limit of 8.389MB is reached" in caught.value.message
    assert "--cache-limit" in caught.value.hint
    assert st_blocks(str(tmp_path)) <= 8 * MIB + TOLERANCE
    layers, most = build(tmp_path, range(3), 8 * MIB)
    assert most <= 8 * MIB + TOLERANCE
    with open_store(str(tmp_path)) as store:
        assert all(store.layers.present(layer) for layer in layers)


def test_named_images_are_never_evicted(tmp_path, run):
    with open_store(str(tmp_path)) as store:
        index, parts = image(store)
        run(store.images.put("app:v1", index))
    for first in range(0, 24, 4):
        build(tmp_path, range(first, first + 4), 10 * MIB)
    with open_store(str(tmp_path)) as store:
        for part in (index, *parts):
            assert run(store.content.has(part))


def test_folders_and_pulls_are_asked_for_too(tmp_path, run):
    diff_id, descriptor, remote = remote_layer(
        {"same": b"x" * (30 * MIB)}
    )  # 30 kB to pull, 30 MiB unpacked: only zeros are holes
    with open_store(str(tmp_path)) as store:
        store.ceiling.limit = 12 * MIB
        layer = store.layers.register_remote(diff_id, descriptor, remote, "r")
        with pytest.raises(Unavailable, match="unpack layer: the cache limit"):
            run(store.layers.folder(layer))
        assert st_blocks(str(tmp_path)) <= 12 * MIB + TOLERANCE
        copied = run(store.layers.add(*listed({"big": b"x" * (30 * MIB)})))
        with pytest.raises(Unavailable, match="write snapshot: the cache limit"):
            run(store.layers.folder(copied))
        store.ceiling.limit = 120 * MIB
        run(store.layers.folder(copied))
        run(store.layers.folder(layer))


def test_what_a_step_writes_is_noticed(tmp_path):
    async def step(store, size: int) -> None:
        async with store.ceiling.watched():
            with open(os.path.join(store.snapshots.folders.temporary(), "out"), "wb") as file:
                for _ in range(size // MIB):
                    file.write(os.urandom(MIB))
                    file.flush()
                    await asyncio.sleep(0.01)
            await asyncio.sleep(2.5)

    evicted, _ = build(tmp_path, range(8), 0)
    with open_store(str(tmp_path)) as store:
        store.ceiling.limit = 20 * MIB
        asyncio.run(step(store, 14 * MIB))
        assert not all(store.layers.present(layer) for layer in evicted)
    with open_store(str(tmp_path)) as store:
        store.ceiling.limit = 20 * MIB
        with pytest.raises(Unavailable, match="run the build: the cache limit"):
            asyncio.run(step(store, 60 * MIB))


def test_settling_after_a_build(tmp_path):
    build(tmp_path, range(10), 0)
    with open_store(str(tmp_path)) as store:
        assert store.ceiling.settle(Cancel()) == 0
        store.ceiling.limit = 5 * MIB
        assert store.ceiling.settle(Cancel()) > 5 * MIB
        assert store.ceiling.settle(Cancel()) == 0, "the ledger vouches for it"
        assert st_blocks(str(tmp_path)) <= 5 * MIB
        store.ceiling.disown()
        assert store.ceiling.settle(Cancel()) == 0


WORKER = """
import sys
import threading
import time
from contextlib import contextmanager
from test_ceiling import build
build(sys.argv[1], range(int(sys.argv[2]), int(sys.argv[2]) + 8), int(sys.argv[3]))
"""


def test_several_processes_share_the_limit(tmp_path):
    limit = 40 * MIB
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), str(first * 100), str(limit)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in range(3)
    ]
    most = 0
    while any(process.poll() is None for process in processes):
        try:
            most = max(most, st_blocks(str(tmp_path)))
        except FileNotFoundError:
            continue
    for process in processes:
        said = process.communicate()[1]
        assert process.returncode == 0, said
    assert most <= limit + TOLERANCE + CHUNK


def test_what_writes_is_halted_while_room_is_made_for_it(tmp_path):
    """However fast it writes, and however long that takes."""
    build(tmp_path, range(8), 0)
    going, halts = threading.Event(), []

    @contextmanager
    def halted():
        going.clear()
        time.sleep(0.005)  # who waits for nobody has written by then
        before = st_blocks(str(tmp_path))
        yield
        halts.append((before, st_blocks(str(tmp_path))))
        going.set()

    def write(path: str) -> None:
        with open(path, "wb", buffering=0) as file:
            for _ in range(14 * 16):
                going.wait()
                file.write(bytes(MIB // 16))
                time.sleep(0.001)

    async def step(store) -> None:
        async with store.ceiling.watched():
            await asyncio.to_thread(write, os.path.join(store.snapshots.folders.temporary(), "out"))

    with open_store(str(tmp_path)) as store:
        store.ceiling.limit = 20 * MIB
        store.ceiling.halted = halted
        going.set()
        asyncio.run(step(store))
        assert st_blocks(str(tmp_path)) <= 28 * MIB, "what came after the last look"
        store.ceiling.settle(Cancel())
        assert st_blocks(str(tmp_path)) <= 20 * MIB
    assert any(after < before for before, after in halts), "room was made while it was held still"
    assert max(before for before, _ in halts) <= 28 * MIB


def test_what_only_the_build_itself_holds_goes_when_it_is_over(tmp_path, run):
    """A cache mount that it filled faster than anybody looked: pinned, and above the limit for good."""
    with open_store(str(tmp_path)) as store:
        store.ceiling.limit = 10 * MIB

        async def main():
            async with store.ceiling.watched(), store.cache_mounts.hold("/c", "shared") as folder:
                with open(os.path.join(folder, "large"), "wb") as file:
                    file.write(bytes(30 * MIB))

        run(main())
        assert st_blocks(str(tmp_path)) > 30 * MIB
        assert store.ceiling.settle(Cancel()) >= 30 * MIB
        assert st_blocks(str(tmp_path)) < 10 * MIB
        with open_store(str(tmp_path)) as other:
            other.ceiling.limit = 10 * MIB
            layer = run(keep(other, 1))
            assert other.layers.present(layer)
