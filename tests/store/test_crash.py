"""SIGKILL at every stage: the next command finds a store that works, and no half of anything."""

from __future__ import annotations

import ast
import asyncio
import os
import pathlib
import re
import subprocess
import sys
import time

import crash_worker
import pytest
from test_layers import remote_layer

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.oci.blobs import read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.store import failpoints
from trimaran.store.prune import PruneOptions
from trimaran.store.salvage import put_in_place
from trimaran.store.store import open_store

HERE = os.path.dirname(__file__)
BEFORE_SNAPSHOT = ["before snapshot write", "before snapshot rename"]
BEFORE_BLOB = ["before blob write", "before blob sync", "before blob rename", "before folder sync"]
SNAPSHOT = ["snapshot filled", "snapshot numbered", "snapshot renamed", "snapshot row"]
SYNC = ["before snapshots sync", "snapshots synced"]
BLOB = ["blob written", "blob synced", "blob renamed", "blob placed", "blob row"]
ROWS = ["before rows", "rows"]
STAGES = [
    *(("blob", place) for place in [*BEFORE_BLOB, *BLOB, *ROWS]),
    *(("copied", place) for place in [*BLOB, "layer blob row", *BEFORE_SNAPSHOT, *SNAPSHOT, *SYNC]),
    *(("pulled", place) for place in [*BLOB, *BEFORE_SNAPSHOT, *SNAPSHOT]),
    *(("committed", place) for place in ["layer taken", *SNAPSHOT, "layer row", *ROWS, "record saved", *SYNC]),
    *(("mounted", place) for place in ["before cache mount rename", "cache mount kept"]),
    ("named", "image row"),
]
SALVAGING = ["database mended", "before log set aside", "before database replaced"]
COLLECTING = ["gc condemned", "gc rows", "gc files"]


def test_every_failpoint_of_the_store_is_tried():
    """A new step of the write protocol comes with a test that is killed there."""
    source = pathlib.Path(failpoints.__file__).parent
    found = {name for path in source.rglob("*.py") for name in re.findall(r'reached\("([^"]+)"\)', path.read_text())}
    tried = {place for _, place in STAGES} | {*COLLECTING, *SALVAGING}
    assert found == tried - {"record saved"}


STEPS = {"os.rename", "os.replace", "os.link", "os.fsync", "os.fdatasync", "syscalls.syncfs"}
"""What gives bytes their name, or makes them durable; and COMMIT."""
WITHOUT = {
    "cache_mounts.condemn": "takes away: what is left of it is swept by the next prune",
    "repositories.condemn": "takes away: what is left of it is swept by the next prune",
    "relief._remove": "takes away: what is left of it is swept by the next prune",
    "removal._empty": "takes away: what is left of it is swept by the next prune",
    "nodes.Nodes.link": "in a temporary folder",
    "merged._merge_folder": "in a temporary folder",
    "copy._take_changes": "in a temporary folder",
    "copy._copy_entry": "in a temporary folder",
    "secret_key._make": "no row names it: whole, or made again",
    "database.Database.write_last": "last use, which may be lost",
    "database._create": "one transaction of SQLite's that nobody waits for",
    "database._upgrade": "one transaction of SQLite's that nobody waits for",
}
"""Functions of the store with such a step and no failpoint, and why none is needed."""


def test_every_step_of_the_store_has_a_failpoint():
    """A new rename, fsync or COMMIT is found by itself: it gets a failpoint, or a reason."""
    source = pathlib.Path(failpoints.__file__).parent
    found = {name for path in source.rglob("*.py") for name in _unguarded(path.stem, ast.parse(path.read_text()))}
    assert found == WITHOUT.keys()


def _unguarded(module: str, tree: ast.Module):
    scopes = [("", tree)] + [(f"{each.name}.", each) for each in tree.body if isinstance(each, ast.ClassDef)]
    for prefix, scope in scopes:
        for function in scope.body:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = [ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)]
                texts = [node.value for node in ast.walk(function) if isinstance(node, ast.Constant)]
                commits = any(isinstance(text, str) and "COMMIT" in text and "\n" not in text for text in texts)
                if (STEPS & set(calls) or commits) and "reached" not in calls:
                    yield f"{module}.{prefix}{function.name}"


def killed(root, work: str, place: str, count: int = 1) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [HERE, *sys.path]))}
    command = [sys.executable, os.path.join(HERE, "crash_worker.py"), str(root), work, place, str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert done.returncode == -9, (done.returncode, done.stderr.decode())


def check(root) -> None:
    """Whatever has a row is whole; the same work succeeds; afterwards everything can be pruned to nothing."""
    with open_store(str(root)) as store:
        _wait_for_sweep(store)
        assert os.listdir(os.path.join(store.root, "temp")) in ([], [store.pins._name])
        for digest, size, media_type in store.database.query("SELECT digest, size, media_type FROM blobs"):
            found = Descriptor(media_type=media_type, digest=Digest(digest), size=size)
            assert len(asyncio.run(read_all(store.content, found))) == size
        for (layer,) in store.database.query("SELECT id FROM layers"):
            if store.layers.present(layer):
                asyncio.run(store.layers.entries(layer))
                folder = asyncio.run(store.layers.folder(layer))
                with open(os.path.join(folder, "big"), "rb") as file:
                    assert file.read() == crash_worker.FILES["big"]
    with open_store(str(root)) as store:
        for work in ("blob", "copied", "committed", "mounted", "named"):
            asyncio.run(crash_worker.WORKS[work](store))
        diff_id, descriptor, remote = remote_layer(crash_worker.FILES)
        asyncio.run(store.layers.folder(store.layers.register_remote(diff_id, descriptor, remote, "r")))
    with open_store(str(root)) as store:
        asyncio.run(store.images.remove("app"))
    with open_store(str(root)) as store:
        list(store.collector.prune(Cancel(), PruneOptions(all=True)))
        assert store.database.query("SELECT id FROM layers") == []
    for part in ("blobs/sha256", "snapshots", "temp", "live", "cache-mounts"):
        assert os.listdir(os.path.join(root, part)) == []


def _wait_for_sweep(store) -> None:
    while store._sweeper is not None and store._sweeper.is_alive():
        time.sleep(0.01)


@pytest.mark.parametrize(("work", "place"), STAGES)
def test_killed_while_writing(tmp_path, work, place):
    killed(tmp_path, work, place)
    check(tmp_path)


@pytest.mark.parametrize("place", COLLECTING)
def test_killed_while_collecting(tmp_path, place):
    with open_store(str(tmp_path)) as store:
        asyncio.run(crash_worker.copied(store))
        asyncio.run(crash_worker.committed(store))
    killed(tmp_path, "collected", place)
    check(tmp_path)


@pytest.mark.parametrize("place", SALVAGING)
def test_killed_while_a_damaged_database_is_mended(tmp_path, place):
    """What could be read of it is there, whoever comes next: `fsck --repair` again, or a build."""
    with open_store(str(tmp_path)) as store:
        asyncio.run(crash_worker.named(store))
        images = [image.name for image in store.images.list()]
    killed(tmp_path, "committed", "record saved")
    assert os.path.getsize(tmp_path / "store.db-wal"), "rows that are only in the log"
    killed(tmp_path, "salvaged", place)
    with open_store(str(tmp_path)) as store:
        assert [image.name for image in store.images.list()] == images
        assert store.database.query("SELECT key FROM records")
        assert store.database.query("PRAGMA main.integrity_check") == [("ok",)]
    assert not (tmp_path / "store.db.mended").exists()
    check(tmp_path)


def test_who_comes_too_late_to_put_a_mended_database_in_place_leaves_its_log(tmp_path):
    """It saw `store.db.mended`, and waited for who was putting it in place and writes to it by now."""
    with open_store(str(tmp_path)) as store:
        asyncio.run(crash_worker.named(store))
        before = sorted(os.listdir(tmp_path))
        assert "store.db-wal" in before
        put_in_place(str(tmp_path))
        assert sorted(os.listdir(tmp_path)) == before
