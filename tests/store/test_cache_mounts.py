"""Folders of cache mounts: their names, who may have them at once, and what is kept and deleted."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trimaran.aio import Cancel
from trimaran.errors import Conflict
from trimaran.store import cache_mounts
from trimaran.store.prune import PruneOptions
from trimaran.store.store import Store, open_store

HOSTILE = ["../../etc", "/etc", "a\0b", "x" * 5000, "ü/\u202e", "..", ".", "", "a,b=c\nd", "\udcff"]


@pytest.fixture
def store(tmp_path: Path):
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


def held(store: Store, *arguments, **options):
    """Hold once, for the path that was given."""

    async def work() -> str:
        async with store.cache_mounts.hold(*arguments, **options) as path:
            return path

    return asyncio.run(work())


def test_what_one_build_writes_the_next_finds(store):
    path = held(store, "/go", "shared")
    Path(path, "file").write_text("kept")
    assert os.stat(path).st_mode & 0o7777 == 0o755
    assert Path(held(store, "/go", "locked"), "file").read_text() == "kept"
    assert held(store, "/other", "shared") != path


@pytest.mark.parametrize("identifier", HOSTILE)
def test_an_id_never_reaches_the_disk(store, identifier):
    path = Path(held(store, identifier, "shared"))
    assert path.parent.parent == Path(store.root, "cache-mounts")
    assert path.parent.name.removesuffix("-0").isalnum()
    assert len({cache_mounts.mount_name(each, "") for each in HOSTILE}) == len(HOSTILE)


def test_the_seed_is_part_of_the_name_and_fills_once(store):
    filled = []

    async def fill(folder: str) -> None:
        filled.append(folder)
        Path(folder, "seed").write_text("1")
        os.chmod(folder, 0o700)

    path = held(store, "id", "shared", seed="sha256:a", fill=fill)
    assert Path(path, "seed").exists()
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert held(store, "id", "shared", seed="sha256:a", fill=fill) == path
    assert len(filled) == 1
    assert held(store, "id", "shared") != path


def test_a_seed_that_fails_leaves_nothing(store):
    async def fill(folder: str) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        held(store, "id", "shared", fill=fill)
    assert store.cache_mounts.listed(Cancel()) == []


def test_sharing(store):
    """shared together; locked alone, waiting; private a copy that is free, and the first again once it is."""

    async def work() -> None:
        mounts = store.cache_mounts
        async with mounts.hold("id", "shared") as one, mounts.hold("id", "shared") as two:
            assert one == two
            async with mounts.hold("id", "private") as own:
                assert own == one.replace("-0/", "-1/")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), mounts.hold("id", "locked"):
                    raise AssertionError
        async with mounts.hold("id", "locked") as alone:
            assert alone == one
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), mounts.hold("id", "shared"):
                    raise AssertionError
        async with mounts.hold("id", "private") as first:
            assert first == one

    asyncio.run(work())


def test_locked_holds_across_processes_and_ends_with_its_holder(store):
    program = """
import asyncio, sys
from trimaran.store.store import open_store
async def main():
    with open_store(sys.argv[1]) as store:
        async with store.cache_mounts.hold("id", "locked"):
            print("held", flush=True)
            await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program, store.root], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"

            async def waits() -> None:
                async with asyncio.timeout(0.2), store.cache_mounts.hold("id", "locked"):
                    raise AssertionError

            with pytest.raises(TimeoutError):
                asyncio.run(waits())
        finally:
            other.kill()
    assert held(store, "id", "locked")


def test_listing_and_removing(tmp_path):
    with open_store(str(tmp_path / "store")) as store:
        path = Path(held(store, "//root/.cache", "shared", description="cached mount /root/.cache"))
        (path / "big").write_bytes(b"x" * 100_000)
        (mount,) = store.cache_mounts.listed(Cancel())
        assert (mount.id, mount.in_use) == ("//root/.cache", True)
        assert mount.size >= 100_000
        with pytest.raises(Conflict, match="a running build has it"):
            store.cache_mounts.remove(Cancel(), mount.name)
    with open_store(str(tmp_path / "store")) as store:
        (mount,) = store.cache_mounts.listed(Cancel())
        assert mount.usage_count == 1
        assert mount.last_used
        assert not mount.in_use
        assert store.cache_mounts.remove(Cancel(), mount.name)
        assert not store.cache_mounts.remove(Cancel(), mount.name)
        assert store.cache_mounts.listed(Cancel()) == []
        assert os.listdir(tmp_path / "store/cache-mounts") == []


def test_du_counts_and_prune_frees(tmp_path):
    with open_store(str(tmp_path / "store")) as store:
        Path(held(store, "id", "shared", description="cached mount /x"), "f").write_bytes(b"x" * 50_000)
        (record,) = (one for one in store.collector.usage(Cancel()) if one.type != "internal")
        assert (record.type, record.mutable, record.description) == ("exec.cachemount", True, "cached mount /x")
        assert record.size >= 50_000
        assert list(store.collector.prune(Cancel(), PruneOptions(all=True))) == [], "in use"
    with open_store(str(tmp_path / "store")) as store:
        assert list(store.collector.prune(Cancel(), PruneOptions(filters=("type==regular",)))) == []
        (freed,) = store.collector.prune(Cancel(), PruneOptions(filters=("type=exec.cachemount",)))
        assert freed.size >= 50_000
        assert os.listdir(tmp_path / "store/cache-mounts") == []


def test_damage_is_listed_and_can_be_removed(tmp_path):
    with open_store(str(tmp_path / "store")) as store:
        folder = Path(held(store, "id", "shared")).parent
        (folder / "mount.json").write_text("{")
        (tmp_path / "store/cache-mounts/gone-1").mkdir()
    with open_store(str(tmp_path / "store")) as store:
        (mount,) = store.cache_mounts.listed(Cancel())
        assert (mount.id, mount.name) == ("", folder.name)
        assert [r.id for r in store.collector.prune(Cancel(), PruneOptions())] == [folder.name]
        assert os.listdir(tmp_path / "store/cache-mounts") == []
