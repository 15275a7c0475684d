from __future__ import annotations

import os
import subprocess

import msgspec
import pytest
from entry_lists import CAPABILITY, entry_lists
from hypothesis import given
from hypothesis import strategies as st

from trimaran.aio import Cancel
from trimaran.store.entries import FILE, FOLDER, HARDLINK, SYMLINK, WHITEOUT, Entry, EntryList
from trimaran.store.folder import Inline
from trimaran.store.render import write_snapshot
from trimaran.store.tree import Tree
from trimaran.store.upper import explicit, prune_unchanged, read_upper

CHANGES = """
rm gone; rm -r dir; mkdir dir; echo new >dir/n; mkdir dir/sub; echo more >>edit
rm -r flip; echo file >flip; ln edit again; mkfifo pipe; echo q >private/p; touch -d @1 keep
"""
DIGEST = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def file(path, mode=0o644):
    return Entry(path, FILE, mode, mtime=10**18, size=3, digest=DIGEST)


def folder(path, mode=0o755, mtime=10**18):
    return Entry(path, FOLDER, mode, mtime=mtime)


def view(*layers):
    return {e.path: e for e in Tree.stack(layers).walk()}


@given(
    st.lists(entry_lists(names=["a", "b", "c"], max_size=12), min_size=1, max_size=2),
    entry_lists(opaque=True, names=["a", "b", "c"], max_size=12),
)
def test_explicit_deletions_mean_the_same_as_opaque_folders(lower, upper):
    below = [entries for entries, _ in lower]
    entries = explicit(upper[0], Tree.stack(below))
    assert entries.opaque == ()
    assert view(*below, entries) == view(*below, upper[0])


@given(entry_lists(names=["a", "b", "c"], max_size=12), entry_lists(names=["a", "b", "c"], max_size=12))
def test_pruning_keeps_the_view(lower, upper):
    tree = Tree.stack([lower[0]])
    pruned = prune_unchanged(upper[0], tree)
    expected = view(lower[0], upper[0])
    found = view(lower[0], pruned)
    assert found.keys() == expected.keys()
    for path, entry in found.items():
        timeless = [msgspec.structs.replace(each, mtime=0) for each in (entry, expected[path])]
        assert timeless[0] == timeless[1]
        # The time of a folder in which nothing changed may be the old one.
        assert entry.kind == FOLDER or entry.mtime // 10**9 == expected[path].mtime // 10**9


def test_folders_are_listed_where_something_in_them_is_and_nowhere_else():
    """Whether their time shows it or not: else two steps within a second gave another layer than on other days."""
    lower = EntryList.of([folder(""), folder("usr"), folder("usr/lib"), folder("tmp", 0o1777), folder("root", 0o700)])
    for mtime in (10**18, 2 * 10**18):
        copied_up = [msgspec.structs.replace(each, mtime=mtime) for each in lower]
        upper = EntryList.of([*copied_up, file("usr/lib/x"), file("root/z")])
        listed = [e.path for e in prune_unchanged(upper, Tree.stack([lower]))]
        assert listed == ["", "root", "root/z", "usr", "usr/lib", "usr/lib/x"]


def test_the_time_alone_is_no_change_of_a_folder():
    """A runtime's mount points come and go in /etc: a step that did nothing must come to nothing, on any day."""
    lower = EntryList.of([folder(""), folder("etc"), folder("etc/ssl"), file("etc/x"), folder("tmp", 0o1777)])
    touched = [folder("", mtime=2 * 10**18), folder("etc", mtime=2 * 10**18), folder("etc/ssl", mtime=3 * 10**18)]
    assert not prune_unchanged(EntryList.of(touched), Tree.stack([lower]))
    changed = EntryList.of([*touched, file("etc/ssl/y")])
    assert [e.path for e in prune_unchanged(changed, Tree.stack([lower]))] == ["", "etc", "etc/ssl", "etc/ssl/y"]
    chmodded = EntryList.of([*touched[:2], folder("etc/ssl", 0o700)])
    assert [e.path for e in prune_unchanged(chmodded, Tree.stack([lower]))] == ["", "etc", "etc/ssl"]


def test_special_parents_are_found():
    lower = EntryList.of([folder(""), folder("usr"), folder("usr/lib"), folder("tmp", 0o1777), folder("root", 0o700)])
    listed = EntryList.of([file("usr/lib/x"), file("tmp/y"), file("new/z")])
    assert [e.path for e in Tree.stack([lower]).special_parents(listed)] == ["tmp"]


@pytest.mark.root
def test_what_overlayfs_leaves_is_read(tmp_path):
    """A real mount: changes made through it, read from its upper folder, give the same view as the mount had."""
    lower = EntryList.of(
        [
            folder(""), folder("keep"), file("keep/a"), file("keep/b"), folder("dir"), file("dir/x"), folder("dir/sub"),
            file("dir/sub/y"), file("edit"), file("gone"), Entry("link", SYMLINK, target="edit"), folder("flip"),
            file("flip/z"), Entry("hard", HARDLINK, target="edit"), folder("private", 0o700), file("private/p"),
        ]
    )  # fmt: skip
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(tmp_path / name)
    fd = os.open(tmp_path / "lower", os.O_RDONLY)
    write_snapshot(Cancel(), lower, lambda entry: Inline(b"abc").open(), fd)
    os.close(fd)
    os.chmod(tmp_path / "upper", 0o755)
    merged = tmp_path / "merged"
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work,index=off,redirect_dir=off,metacopy=off"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)
    try:
        subprocess.run(["sh", "-ec", CHANGES], cwd=merged, check=True)
        os.setxattr(merged / "dir/n", "security.capability", CAPABILITY)
        os.setxattr(merged / "dir/n", "user.note", b"dropped")
        expected = {}
        for path, folders, files in os.walk(merged):
            for name in folders + files:
                full = os.path.join(path, name)
                expected[os.path.relpath(full, merged)] = os.lstat(full)
    finally:
        subprocess.run(["umount", merged], check=True)
    fd = os.open(tmp_path / "upper", os.O_RDONLY)
    raw = read_upper(Cancel(), fd, user_xattrs=False)
    os.close(fd)
    tree = Tree.stack([lower])
    entries = prune_unchanged(explicit(raw, tree), tree)
    assert raw.opaque == ("dir",)
    assert entries.get("gone") == Entry("gone", WHITEOUT)
    assert entries.get("dir/x") == Entry("dir/x", WHITEOUT)
    assert entries.get("dir/sub/y") == Entry("dir/sub/y", WHITEOUT)
    assert entries.get("dir/n").xattrs == (("security.capability", CAPABILITY),)
    assert entries.get("edit").kind == HARDLINK
    assert entries.get("edit").target == "again"
    assert entries.get("private").mode == 0o700
    assert entries.get("keep") is None, "touched, and nothing else"
    assert entries.get("keep/a") is None
    found = {e.path: e for e in Tree.stack([lower, entries]).walk() if e.path}
    assert found.keys() == expected.keys()
    for path, entry in found.items():
        status = expected[path]
        assert (entry.mode, entry.uid, entry.gid) == (status.st_mode & 0o7777, status.st_uid, status.st_gid), path
        assert entry.mtime == status.st_mtime_ns or path == "keep", path
        assert entry.kind != FILE or entry.size == status.st_size


@pytest.mark.root
def test_namespaced_capabilities_lose_their_namespace(tmp_path):
    from trimaran.store.entry_stat import file_capability

    (tmp_path / "f").write_bytes(b"")
    version_3 = CAPABILITY[:3] + b"\x03" + CAPABILITY[4:] + (1000).to_bytes(4, "little")
    os.setxattr(tmp_path / "f", "security.capability", bytes([0, 0, 0, 3]) + version_3[4:])
    fd = os.open(tmp_path, os.O_RDONLY)
    assert file_capability(fd, "f") == bytes([0, 0, 0, 2]) + CAPABILITY[4:]
    os.close(fd)
