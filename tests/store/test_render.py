from __future__ import annotations

import io
import os
import tarfile

import msgspec
import pytest
from entry_lists import CAPABILITY, entry_lists
from hypothesis import HealthCheck, given, settings

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Cancelled, Unavailable
from trimaran.store.entries import (
    CHARACTER,
    FILE,
    FOLDER,
    HARDLINK,
    NANOSECONDS,
    SYMLINK,
    WHITEOUT,
    Entry,
    EntryList,
    implied,
)
from trimaran.store.folder import Folder, Inline
from trimaran.store.nodes import remove
from trimaran.store.render import ContextChanged, fill_digests, write_layer, write_snapshot
from trimaran.store.unpack import read_layer
from trimaran.store.upper import read_upper

PROBLEMS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def opener(data):
    return lambda entry: Inline(data[entry.path]).open()


def in_seconds(entries):
    cut = [msgspec.structs.replace(e, mtime=e.mtime // NANOSECONDS * NANOSECONDS) for e in entries]
    return EntryList(tuple(cut), entries.opaque)


def layer(entries, data):
    pieces = []
    rendered = write_layer(Cancel(), entries, opener(data), pieces.append)
    return b"".join(pieces), rendered


def read(tar, **options):
    return read_layer(Cancel(), io.BytesIO(tar).read, **options)


def with_implied(entries):
    """As a folder on disk is listed: implied folders and the root are there."""
    have = {e.path for e in entries}
    missing = [implied(path) for path in {"", *entries.children} if path not in have]
    return EntryList.of([*entries, *missing], entries.opaque)


@given(entry_lists(opaque=True))
def test_list_to_tar_to_list(made):
    entries, data = made
    tar, rendered = layer(entries, data)
    again = read(tar)
    assert again.entries == in_seconds(entries)
    assert again.diff_id == rendered.diff_id == Digest.of(tar)
    assert again.size == rendered.size == len(tar)
    assert again.entries.digest == entries.digest, "equal lists are equal blobs"
    assert rendered.digests == {}, "the list had them all"
    bare = EntryList(tuple(msgspec.structs.replace(e, digest="") for e in entries), entries.opaque)
    files = {e.path: e.digest for e in entries if e.kind == FILE}
    assert write_layer(Cancel(), bare, opener(data), lambda piece: None).digests == files


@given(entry_lists(opaque=True))
def test_equal_digests_are_equal_bytes(made):
    entries, data = made
    assert layer(entries, data)[0] == layer(in_seconds(entries), data)[0]


@pytest.mark.root
@settings(suppress_health_check=PROBLEMS, deadline=None)
@given(entry_lists(opaque=True))
def test_list_to_snapshot_to_list_and_tar_to_snapshot(tmp_path, made):
    entries, data = made
    for name, write in (
        ("rendered", lambda fd: write_snapshot(Cancel(), entries, opener(data), fd)),
        ("unpacked", lambda fd: read(layer(entries, data)[0], extract_to=fd)),
    ):
        os.mkdir(tmp_path / name)
        fd = os.open(tmp_path / name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            assert write(fd).skipped == ()
            found = read_upper(Cancel(), fd, user_xattrs=False)
            with Folder("snapshot", os.dup(fd)) as folder:
                digests = {e.path: Digest.of(os.pread(folder.open(e.path), 9999, 0)) for e in found if e.kind == FILE}
        finally:
            os.close(fd)
            above = os.open(tmp_path, os.O_RDONLY)
            remove(above, name)
            os.close(above)
        expected = with_implied(entries)
        assert fill_digests(found, digests) == (expected if name == "rendered" else in_seconds(expected)), name


def test_other_programs_read_the_tar():
    entries = EntryList.of(
        [
            Entry("d", FOLDER, 0o1777, 5, 6, 10**18),
            Entry("d/f", FILE, 0o4755, 0, 0, 10**18, 3, xattrs=(("security.capability", CAPABILITY),)),
            Entry("d/g", HARDLINK, target="d/f"),
            Entry("l", SYMLINK, target="/d/f"),
            Entry("gone", WHITEOUT),
        ],
        ["o"],
    )
    tar, _ = layer(entries, {"d/f": b"abc"})
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = {m.name: m for m in archive.getmembers()}
        assert list(members) == ["o/.wh..wh..opq", "d", "d/f", "d/g", ".wh.gone", "l"]
        assert members["d"].isdir()
        assert members["d"].mode == 0o1777
        assert members["d/f"].pax_headers["SCHILY.xattr.security.capability"]
        assert archive.extractfile("d/f").read() == b"abc"
        assert members["d/g"].islnk()
        assert members["d/g"].linkname == "d/f"
        assert members["l"].linkname == "/d/f"
        assert (members[".wh.gone"].size, members[".wh.gone"].mode, members[".wh.gone"].mtime) == (0, 0, 0)
        assert all(m.uname == m.gname == "" for m in members.values())


@pytest.mark.parametrize("now", [b"ab", b"abcd", b"abX", b""])
def test_a_file_that_changed_since_it_was_listed_is_never_stored(now):
    listed = EntryList.of([Entry("dir/f", FILE, 0o644, size=3, digest=Digest.of(b"abc"))])
    with pytest.raises(ContextChanged, match="context changed during the build: dir/f") as caught:
        layer(listed, {"dir/f": now})
    assert caught.value.path == "dir/f"


def test_a_file_that_is_gone_has_changed(tmp_path):
    listed = EntryList.of([Entry("f", FILE, 0o644, size=3)])
    with Folder(str(tmp_path)) as folder, pytest.raises(ContextChanged):
        write_layer(Cancel(), listed, lambda entry: folder.open(entry.path), lambda data: None)


def test_missing_digests_are_found_while_rendering():
    listed = EntryList.of([Entry("f", FILE, 0o644, size=3)])
    _, rendered = layer(listed, {"f": b"abc"})
    assert fill_digests(listed, rendered.digests).get("f").digest == Digest.of(b"abc")


def test_a_file_of_many_pieces():
    data = os.urandom(3_500_001)
    listed = EntryList.of([Entry("f", FILE, 0o644, size=len(data), digest=Digest.of(data))])
    tar, _ = layer(listed, {"f": data})
    assert read(tar).entries == listed


def test_cancelling_stops_between_entries():
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        write_layer(cancel, EntryList.of([Entry("a", FOLDER)]), opener({}), lambda data: None)


@pytest.mark.root
def test_descriptors_are_closed_whatever_happens(tmp_path):
    def count():
        return len(os.listdir("/proc/self/fd"))

    listed = EntryList.of(
        [Entry(f"d{i}/e/f", FILE, 0o644, os.getuid(), os.getgid(), size=3, digest=Digest.of(b"abc")) for i in range(9)]
    )
    before = count()
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(ContextChanged):
        write_snapshot(Cancel(), listed, opener({f"d{i}/e/f": b"abc" if i < 5 else b"x" for i in range(9)}), fd)
    with pytest.raises(ContextChanged):
        layer(listed, {f"d{i}/e/f": b"x" for i in range(9)})
    os.close(fd)
    assert count() == before


def test_a_full_disk_is_said_plainly(tmp_path, monkeypatch):
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr("trimaran.store.nodes.Nodes.create", lambda *_: os.dup(full))
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(Unavailable, match="(?i)no space left"):
        write_snapshot(Cancel(), EntryList.of([Entry("f", FILE, size=1)]), opener({"f": b"x"}), fd)
    os.close(fd)
    os.close(full)


@pytest.mark.root
def test_snapshots_made_in_a_user_namespace(tmp_path):
    """Owners and capabilities as listed, deletions and opaque folders in overlay's unprivileged form, no devices."""
    from namespaces import in_user_namespace

    capable = (("security.capability", CAPABILITY),)
    listed = EntryList.of(
        [
            Entry("d", FOLDER, 0o755, 5, 5, 10**18),
            Entry("d/f", FILE, 0o4755, 1000, 1000, 10**18, 3, xattrs=capable, digest=Digest.of(b"abc")),
            Entry("gone", WHITEOUT),
            Entry("link", SYMLINK, uid=7, gid=7, mtime=10**18, target="x"),
            Entry("null", CHARACTER, 0o666, major=1, minor=3),
        ],
        ["d"],
    )
    visible = EntryList.of([e for e in listed if e.kind != CHARACTER], listed.opaque)
    tar, _ = layer(listed, {"d/f": b"abc"})

    def work():
        for name in ("rendered", "unpacked"):
            os.mkdir(tmp_path / name)
            fd = os.open(tmp_path / name, os.O_RDONLY)
            if name == "rendered":
                written = write_snapshot(Cancel(), listed, opener({"d/f": b"abc"}), fd, user_xattrs=True)
            else:
                written = read(tar, extract_to=fd, user_xattrs=True)
            assert written.skipped == ("null",)
            found = read_upper(Cancel(), fd, user_xattrs=True)
            assert fill_digests(found, {"d/f": Digest.of(b"abc")}) == with_implied(visible)

    os.chmod(tmp_path, 0o755)
    in_user_namespace(work)
