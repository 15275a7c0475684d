"""A disk with no room at all, for real: `prune`, which everybody is told to call then, must make some."""

from __future__ import annotations

import asyncio
import os

import pytest
from namespaces import in_mount_namespace
from test_gc import folder_with, prune, usage
from test_layers import listed

from trimaran.errors import Unavailable
from trimaran.linux import syscalls
from trimaran.store.store import open_store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted")
KIB = 1024


def on_small_disk(tmp_path, work, options: str) -> None:
    def inside() -> None:
        syscalls.mount("small", str(tmp_path), "tmpfs", 0, options)
        work(str(tmp_path / "store"), tmp_path / "ballast")

    in_mount_namespace(inside)


def fill(ballast) -> None:
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4 * KIB)):
                pass
        except OSError:
            return


async def made(store, *names: str) -> list[str]:
    layers = [await store.layers.add_upper(folder_with(store, name, 300 * KIB), ()) for name in names]
    copied = await store.layers.add(*listed({"copied": os.urandom(300 * KIB)}))
    await store.layers.settle([copied])
    await store.sync()
    return [*layers, copied]


@pytest.mark.parametrize("others", [False, True], ids=["alone", "under a build"])
def test_prune_makes_room_where_there_is_none(tmp_path, others):
    def work(root: str, ballast) -> None:
        with open_store(root) as store:
            first, *_ = asyncio.run(made(store, "first", "second"))
        with open_store(root) as builder, open_store(root) as store:
            if others:
                assert builder.layers.present(first)
            fill(ballast)
            with pytest.raises(Unavailable):
                store.database.write_now(
                    lambda connection: connection.execute("INSERT INTO memos VALUES('a', 'b', ?)", ("x" * 99_999,))
                )
            assert sum(record.size for record in prune(store, all=True)) >= (600 if others else 900) * KIB
            assert {record.id for record in usage(store)} == ({first} if others else set())
            if others:
                assert os.listdir(asyncio.run(builder.layers.folder(first))) == ["first"]
        ballast.unlink()
        with open_store(root) as store:
            asyncio.run(made(store, "again"))

    on_small_disk(tmp_path, work, "size=2m")


def test_prune_also_where_all_is_blobs(tmp_path):
    def work(root: str, ballast) -> None:
        with open_store(root) as store:
            asyncio.run(made(store))
        with open_store(root) as store:
            fill(ballast)
            assert prune(store, all=True)
            assert os.listdir(f"{root}/blobs/sha256") == []

    on_small_disk(tmp_path, work, "size=2m")


def test_no_inode_left_is_said_to_be_a_full_disk(tmp_path):
    def work(root: str, ballast) -> None:
        refused = []
        for inodes in range(2, 40):
            syscalls.mount("small", os.path.dirname(root), None, syscalls.MS_REMOUNT, f"nr_inodes={inodes}")
            try:
                with open_store(root) as store:
                    store.pins.pin("layer:any")
                break
            except Unavailable as error:
                refused.append((error.message.lower(), error.hint))
        assert 6 < len(refused) < 38
        assert all("no space left on device" in message and "prune" in hint for message, hint in refused), refused

    on_small_disk(tmp_path, work, "nr_inodes=2")
