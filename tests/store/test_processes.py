"""Several processes on one store, and a disk that is full."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from namespaces import in_mount_namespace
from test_layers import listed

from trimaran.aio import Cancel
from trimaran.errors import Unavailable
from trimaran.linux import syscalls
from trimaran.store.compression import Compression
from trimaran.store.prune import PruneOptions
from trimaran.store.store import open_store

HERE = os.path.dirname(__file__)

WORKER = """
import asyncio, sys
from test_layers import listed, remote_layer
from trimaran.digest import Digest
from trimaran.oci.blobs import read_all
from trimaran.solver.protocols import CacheRecord, ResultGone
from trimaran.store.compression import Compression
from trimaran.store.store import open_store

async def main(store, seed):
    for number in range(12):
        key = Digest.of(b"key %d" % number)
        async with store.records.lock(key):
            record = store.records.find(key)
            if record is None or not all(store.layers.present(layer) for layer in record.results[0]):
                entries, origins = listed({"f": b"%d" % number * 5000})
                layer = await store.layers.add(entries, origins)
                await store.layers.settle([layer])
                store.records.save(CacheRecord(key=key, op=key, inputs=(), results=((layer,),)))
                print("made", number)
            else:
                (layer,) = record.results[0]
        blob = await store.layers.blob(layer, Compression())
        await read_all(store.content, blob.descriptor)
        folder = await store.layers.folder(layer)
        with open(folder + "/f", "rb") as file:
            assert file.read() == b"%d" % number * 5000
    await store.sync()

with open_store(sys.argv[1]) as store:
    asyncio.run(main(store, 0))
"""

PRUNER = """
import sys
from trimaran.aio import Cancel
from trimaran.store.prune import PruneOptions
from trimaran.store.store import open_store
for _ in range(15):
    with open_store(sys.argv[1]) as store:
        list(store.collector.prune(Cancel(), PruneOptions(all=True)))
"""


def started(code: str, root) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [HERE, *sys.path]))}
    command = [sys.executable, "-c", code, str(root)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def test_equal_steps_run_once_between_processes(tmp_path):
    processes = [started(WORKER, tmp_path) for _ in range(3)]
    made = [line for process in processes for line in finished(process).splitlines()]
    assert sorted(made) == sorted(f"made {number}" for number in range(12))


def test_pruning_while_builds_run_takes_nothing_from_them(tmp_path):
    workers = [started(WORKER, tmp_path) for _ in range(2)]
    pruner = started(PRUNER, tmp_path)
    for process in (*workers, pruner):
        finished(process)
    with open_store(str(tmp_path)) as store:
        list(store.collector.prune(Cancel(), PruneOptions(all=True)))
        assert {one.type for one in store.collector.usage(Cancel())} == {"internal"}


@pytest.mark.root
def test_a_full_disk_says_so_and_works_again_when_there_is_room(tmp_path):
    def work():
        syscalls.mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=3m")
        filler = tmp_path / "filler"
        with open_store(str(tmp_path / "store")) as store:
            store.content.put(b"{}", "application/json")
            free = os.statvfs(tmp_path)
            filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - 400_000))
            entries, origins = listed({"big": os.urandom(1_000_000)})
            layer = asyncio.run(store.layers.add(entries, origins))
            for ask in (lambda: store.layers.blob(layer, Compression()), lambda: store.layers.folder(layer)):
                with pytest.raises(Unavailable, match="(?i)no space left"):
                    asyncio.run(ask())
            filler.unlink()
            asyncio.run(store.layers.settle([layer]))
        with open_store(str(tmp_path / "store")) as store:
            assert store.layers.present(layer)

    in_mount_namespace(work)


@pytest.mark.root
def test_a_disk_without_room_for_a_row_says_so(tmp_path):
    def work():
        syscalls.mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=2m")
        with open_store(str(tmp_path / "store")) as store:
            filler = tmp_path / "filler"
            fd = os.open(filler, os.O_WRONLY | os.O_CREAT)

            def fill():
                while True:
                    os.write(fd, b"x" * 4096)

            def insert():
                for number in range(1000):
                    store.database.execute("INSERT INTO memos VALUES(?, '', ?)", (str(number), "x" * 1000)).result()

            with pytest.raises(OSError):
                fill()
            os.close(fd)
            with pytest.raises(Unavailable) as caught:
                insert()
            assert "prune" in caught.value.hint
            filler.unlink()
            store.database.execute("INSERT INTO memos VALUES('later', '', 'x')").result()
            assert store.records.memo("later", "") == "x"

    in_mount_namespace(work)


@pytest.mark.root
def test_a_readonly_disk_is_told_apart(tmp_path):
    from trimaran.errors import Denied

    def work():
        with open_store(str(tmp_path / "store")) as store:
            descriptor = store.content.put(b"{}", "application/json")
        syscalls.mount(str(tmp_path), str(tmp_path), None, syscalls.MS_BIND)
        syscalls.mount("none", str(tmp_path), None, syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY)
        with open_store(str(tmp_path / "store"), readonly=True) as store:
            assert asyncio.run(store.content.has(descriptor))
            assert store.images.list() == []
        with pytest.raises(Denied) as caught, open_store(str(tmp_path / "store")) as store:
            store.content.put(b"[]", "application/json")
        assert "TRIMARAN_ROOT" in caught.value.hint

    in_mount_namespace(work)
