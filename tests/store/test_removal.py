from __future__ import annotations

import os

import pytest

from trimaran.aio import Cancel
from trimaran.errors import Cancelled
from trimaran.store.removal import disk_usage, remove_tree


def test_everything_goes_and_links_are_not_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    gone = tmp_path / "gone"
    (gone / "a/b/c").mkdir(parents=True)
    (gone / "a/file").write_text("x")
    (gone / "link").symlink_to(kept)
    (gone / "a/up").symlink_to("..")
    os.mkfifo(gone / "fifo")
    os.chmod(gone / "a/b", 0)
    os.chmod(gone / "a", 0o500)
    assert remove_tree(Cancel(), str(gone))
    assert os.listdir(tmp_path) == ["kept"]
    assert (kept / "file").exists()


def test_any_depth(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("deep", dir_fd=fd)
    for _ in range(3000):
        inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        os.mkdir("deep", dir_fd=inner)
        fd = inner
    os.close(fd)
    assert remove_tree(Cancel(), str(tmp_path / "deep"))
    assert os.listdir(tmp_path) == []


def test_files_and_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    assert remove_tree(Cancel(), str(tmp_path / "file"))
    assert remove_tree(Cancel(), str(tmp_path / "file"))
    assert remove_tree(Cancel(), str(tmp_path / "no/such"))


def test_a_link_itself_is_removed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    assert remove_tree(Cancel(), str(tmp_path / "link"))
    assert os.listdir(tmp_path) == ["kept"]


def test_it_can_be_cancelled(tmp_path):
    (tmp_path / "a").mkdir()
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        remove_tree(cancel, str(tmp_path / "a"))


def test_usage_counts_blocks_and_each_file_once(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10_000)
    os.link(tmp_path / "a", tmp_path / "b")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 30)
    assert 8192 <= disk_usage(Cancel(), str(tmp_path)) <= 20_000


def test_what_is_mounted_in_a_folder_does_not_count(tmp_path):
    """A running step's root lies in the build's temp folder and shows its base: that was counted once more."""
    from namespaces import in_mount_namespace

    from trimaran.linux.syscalls import mount

    (tmp_path / "base").mkdir()
    (tmp_path / "base/large").write_bytes(bytes(300_000))
    for name in ("upper", "work", "root"):
        (tmp_path / "temp" / name).mkdir(parents=True)
    (tmp_path / "temp/upper/own").write_bytes(bytes(100_000))

    def work() -> None:
        layers = f"lowerdir={tmp_path}/base,upperdir={tmp_path}/temp/upper,workdir={tmp_path}/temp/work"
        mount("overlay", f"{tmp_path}/temp/root", "overlay", 0, layers)
        assert os.path.getsize(tmp_path / "temp/root/large") == 300_000
        assert 100_000 < disk_usage(Cancel(), str(tmp_path / "temp")) < 150_000
        assert disk_usage(Cancel(), str(tmp_path / "base")) > 300_000

    in_mount_namespace(work)
