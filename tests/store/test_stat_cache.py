from __future__ import annotations

import mmap
import os
import time

import pytest
from namespaces import in_mount_namespace

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.linux import syscalls
from trimaran.store import stat_cache
from trimaran.store.folder import Folder, StatKey
from trimaran.store.stat_cache import hash_folder_files
from trimaran.store.store import open_store

OLD = time.time_ns() - 3600 * 10**9
LATER = time.time_ns() + 3600 * 10**9


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    with Folder(str(folder)) as opened:
        yield opened


@pytest.fixture
def reads(monkeypatch):
    """Which files were really read."""
    seen = []
    real = Folder.hash

    def read(folder, cancel, path):
        seen.append(path)
        return real(folder, cancel, path)

    monkeypatch.setattr(Folder, "hash", read)
    return seen


def settled(monkeypatch):
    """As if the files had been written long before they are hashed."""
    monkeypatch.setattr(stat_cache.time, "time_ns", lambda: LATER)


def hashed(store, context, paths=("a", "b")):
    found = hash_folder_files(Cancel(), context, paths, store.stat_cache)
    store.database.write_now(lambda _: None)
    return found


def test_what_did_not_change_is_not_read_again(tmp_path, context, reads, monkeypatch):
    settled(monkeypatch)
    with open_store(str(tmp_path / "store")) as store:
        first = hashed(store, context)
    assert first == {"a": Digest.of(b"a"), "b": Digest.of(b"b")}
    assert reads == ["a", "b"]
    with open_store(str(tmp_path / "store")) as store:
        assert hashed(store, context) == first
        assert reads == ["a", "b"]
        with open(os.path.join(context.path, "a"), "w") as file:
            file.write("A")
        assert hashed(store, context)["a"] == Digest.of(b"A")
        assert reads == ["a", "b", "a"]


def test_a_change_that_keeps_size_and_mtime_is_seen(tmp_path, context, reads, monkeypatch):
    settled(monkeypatch)
    with open_store(str(tmp_path / "store")) as store:
        path = os.path.join(context.path, "a")
        before = os.stat(path)
        hashed(store, context)
        time.sleep(0.02)
        with open(path, "w") as file:
            file.write("X")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert hashed(store, context)["a"] == Digest.of(b"X")


def test_what_was_just_written_is_not_trusted(store, context, reads):
    """Git's racy rule: its numbers might stay equal while it changes once more."""
    hashed(store, context)
    hashed(store, context)
    assert reads == ["a", "b", "a", "b"]


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(store, context, monkeypatch):
    settled(monkeypatch)
    real = os.read

    def read(fd, size):
        data = real(fd, size)
        path = os.readlink(f"/proc/self/fd/{fd}")
        if data and path.startswith(context.path):
            with open(path, "a") as file:
                file.write("more")
        return data

    monkeypatch.setattr(os, "read", read)
    hashed(store, context)
    assert store.database.query("SELECT * FROM fast.stat") == []


def test_network_file_systems_are_not_trusted(store, context, reads, monkeypatch):
    settled(monkeypatch)
    monkeypatch.setattr(stat_cache, "_file_system", lambda fd: 0x6969)  # NFS
    hashed(store, context)
    hashed(store, context)
    assert reads == ["a", "b", "a", "b"]


def test_many_and_odd_numbers(store):
    keys = [StatKey(2**63 + 5, 2**64 - 1 - number, number, OLD, OLD) for number in range(3000)]
    store.stat_cache.remember([(key, Digest.of(b"%d" % key.size)) for key in keys])
    store.database.write_now(lambda _: None)
    assert store.stat_cache.look_up({key: key for key in keys}) == {key: Digest.of(b"%d" % key.size) for key in keys}
    others = [StatKey(key.device, key.inode, key.size, key.mtime, key.ctime + 1) for key in keys]
    assert store.stat_cache.look_up({key: key for key in others}) == {}


def test_a_missing_file_is_not_found(store, context):
    with pytest.raises(NotFound):
        hashed(store, context, ["nope"])


@pytest.mark.root
def test_a_file_system_mounted_below_is_asked_itself(tmp_path, context, reads, monkeypatch):
    """The folder's own one is trusted; what is mounted in it (ramfs here) need not be."""

    def work():
        below = os.path.join(context.path, "below")
        os.mkdir(below)
        syscalls.mount("none", below, "ramfs", 0)
        with open(f"{below}/f", "w") as file:
            file.write("1")
        settled(monkeypatch)
        with open_store(str(tmp_path / "store")) as store, Folder(context.path) as opened:
            for _ in range(2):
                hashed(store, opened, ["a", "below/f"])
        assert reads == ["a", "below/f", "below/f"]

    in_mount_namespace(work)


def change_by_mapping(path: str) -> None:
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 1) as mapped:
        mapped[0:1] = b"X"


def change_by_another_name(path: str) -> None:
    os.link(path, f"{path}.other")
    with open(f"{path}.other", "w") as file:
        file.write("X")


def change_by_renaming(path: str) -> None:
    with open(f"{path}.new", "w") as file:
        file.write("X")
    os.rename(f"{path}.new", path)


def change_by_exchanging(path: str) -> None:
    with open(f"{path}.x", "w") as file:
        file.write("X")
    os.rename(path, f"{path}.y")
    os.rename(f"{path}.x", path)


@pytest.mark.parametrize(
    "change", [change_by_mapping, change_by_another_name, change_by_renaming, change_by_exchanging]
)
def test_whichever_way_a_file_changes_that_keeps_its_size_and_time(tmp_path, context, monkeypatch, change):
    settled(monkeypatch)
    path = os.path.join(context.path, "a")
    before = os.stat(path)
    with open_store(str(tmp_path / "store")) as store:
        hashed(store, context)
        time.sleep(0.02)
        change(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert hashed(store, context)["a"] == Digest.of(b"X")


def test_a_clock_that_was_set_back_makes_times_of_the_future_which_are_not_trusted(store, context, reads, monkeypatch):
    monkeypatch.setattr(stat_cache.time, "time_ns", lambda: OLD)
    hashed(store, context)
    hashed(store, context)
    assert reads == ["a", "b", "a", "b"]
