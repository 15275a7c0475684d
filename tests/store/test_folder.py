from __future__ import annotations

import os
import socket
import stat

import pytest

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Cancelled, NotFound
from trimaran.store.entries import FIFO, FILE, FOLDER, HARDLINK, SYMLINK, EntryList, order
from trimaran.store.folder import Folder, FolderFile, Inline, StatKey, Verdict, hash_files


@pytest.fixture
def context(tmp_path):
    root = tmp_path / "context"
    for folder in ("a", "a/sub", "node_modules/x", ".git/objects", "b"):
        (root / folder).mkdir(parents=True)
    for name in ("a/1", "a/sub/2", "a.b", "node_modules/x/y", ".git/objects/o", "b/keep", "b/drop", "B"):
        (root / name).write_bytes(name.encode())
    os.symlink("../outside", root / "a/link")
    os.symlink("/etc", root / "etc")
    os.link(root / "a/1", root / "z")
    os.mkfifo(root / "fifo")
    (root / os.fsdecode(b"\xff")).write_bytes(b"odd")
    (tmp_path / "outside").write_bytes(b"secret")
    return root


def paths(entries):
    return [entry.path for entry in entries]


def scan(root, **options):
    with Folder(str(root)) as folder:
        return folder.scan(Cancel(), **options)


def test_a_scan_is_a_valid_list_in_tree_order(context):
    entries = scan(context)
    assert paths(entries) == sorted(paths(entries), key=order)
    assert EntryList.of(entries).entries == tuple(entries)
    by_path = {entry.path: entry for entry in entries}
    assert by_path["a"].kind == FOLDER
    assert by_path["a/link"].target == "../outside"
    assert by_path["etc"].kind == SYMLINK
    assert by_path["fifo"].kind == FIFO
    assert by_path["a/1"].kind == FILE
    assert by_path["z"] == by_path["z"].__class__(
        "z", HARDLINK, by_path["a/1"].mode, by_path["a/1"].uid, by_path["a/1"].gid, by_path["a/1"].mtime, target="a/1"
    )
    assert by_path["\udcff"].size == 3
    status = os.lstat(context / "a.b")
    assert (by_path["a.b"].mode, by_path["a.b"].mtime) == (stat.S_IMODE(status.st_mode), status.st_mtime_ns)
    assert all(entry.digest == "" for entry in entries)
    assert not any(path.startswith("etc/") for path in by_path)


def test_sockets_are_left_out(context):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(context / "socket"))
    assert "socket" not in paths(scan(context))
    listener.close()


def test_what_is_pruned_is_never_entered(context):
    asked = []

    def wanted(path, folder):
        asked.append((path, folder))
        return Verdict.PRUNE if path in ("node_modules", ".git") else Verdict.KEEP

    found = paths(scan(context, wanted=wanted))
    assert not any(path.startswith(("node_modules", ".git")) for path in found)
    assert not any(path.startswith(("node_modules/", ".git/")) for path, _ in asked)
    assert ("a", True) in asked
    assert ("a/link", False) in asked
    assert len(asked) == len(set(asked)), "asked once each"


def test_skipped_folders_are_listed_when_something_in_them_is_kept(context):
    keep = {"b/keep", "a/sub/2"}
    found = paths(scan(context, wanted=lambda path, folder: Verdict.KEEP if path in keep else Verdict.SKIP))
    assert found == ["a", "a/sub", "a/sub/2", "b", "b/keep"]


def test_a_scan_may_start_below(context):
    assert paths(scan(context, start="a")) == ["a", "a/1", "a/link", "a/sub", "a/sub/2"]
    assert paths(scan(context, start="a/sub/2")) == ["a/sub/2"]
    assert paths(scan(context, start="etc")) == ["etc"], "a link is listed, not followed"
    for missing in ("nothing", "etc/passwd", "a/1/x"):
        with pytest.raises(NotFound):
            scan(context, start=missing)


def test_hard_links_follow_the_first_kept_name(context):
    found = {e.path: e for e in scan(context, wanted=lambda p, d: Verdict.PRUNE if p == "a/1" else Verdict.KEEP)}
    assert found["z"].kind == FILE


def test_stats_are_those_of_the_files(context):
    stats: dict[str, StatKey] = {}
    entries = scan(context, stats=stats)
    assert set(stats) == {e.path for e in entries if e.kind == FILE}
    with Folder(str(context)) as folder:
        assert folder.stat_key("a.b") == stats["a.b"]
        (context / "a.b").write_bytes(b"other")
        assert folder.stat_key("a.b") != stats["a.b"]


def test_cancelling(context):
    cancel = Cancel()
    cancel.set()
    with Folder(str(context)) as folder, pytest.raises(Cancelled):
        folder.scan(cancel)


@pytest.mark.parametrize(
    "path", ["a/link", "etc/passwd", "../outside", "a/../../outside", "/etc/passwd", "fifo", "a", "missing", "a/1/x"]
)
def test_only_regular_files_inside_are_opened(context, path):
    with Folder(str(context)) as folder, pytest.raises(NotFound):
        folder.open(path)


def test_a_folder_swapped_for_a_link_leads_nowhere(context):
    """CVE-2018-15664's family: the path was fine when it was listed."""
    with Folder(str(context)) as folder:
        os.close(folder.open("b/keep"))
        os.rename(context / "a/sub", context / "moved")
        os.symlink("/etc", context / "a/sub")
        with pytest.raises(NotFound):
            folder.open("a/sub/passwd")


def test_files_are_opened_and_hashed(context):
    with Folder(str(context)) as folder:
        origins = {path: FolderFile(folder, path) for path in ("a/1", "a/sub/2", "b/keep", "B")}
        assert hash_files(Cancel(), origins) == {path: Digest.of(path.encode()) for path in origins}
        assert list(hash_files(Cancel(), origins, ["B"])) == ["B"]
    with pytest.raises(NotFound):
        folder.open("B")


def test_inline_content_is_an_origin():
    data = os.urandom(300_000)
    assert hash_files(Cancel(), {"x": Inline(data)}) == {"x": Digest.of(data)}
    with os.fdopen(Inline(data).open(), "rb") as file:
        assert file.read() == data


def test_no_folder_there(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for name in ("missing", "file"):
        with pytest.raises(NotFound):
            Folder(str(tmp_path / name))


def test_descriptors_are_closed(context):
    before = len(os.listdir("/proc/self/fd"))
    with Folder(str(context)) as folder:
        folder.scan(Cancel())
        os.close(folder.open("a/1"))
        os.close(folder.open("a/sub/2"))
    assert len(os.listdir("/proc/self/fd")) == before
