from __future__ import annotations

import msgspec
import pytest
from entry_lists import entry_lists
from hypothesis import given

from trimaran.digest import Digest
from trimaran.errors import Corrupt, Unsupported
from trimaran.store.entries import FILE, FOLDER, HARDLINK, SYMLINK, WHITEOUT, Entry, EntryList, order

ONE = Digest.of(b"one")


def file(path, **fields):
    return Entry(path, FILE, fields.pop("mode", 0o644), digest=fields.pop("digest", ONE), size=3, **fields)


def test_tree_order_is_a_folder_then_its_content_compared_as_bytes():
    listed = EntryList.of(
        [file("a.b"), file("a/c"), Entry("a", FOLDER), file("a-b"), file("b"), file("\udcff"), file("ü")]
    )
    assert [e.path for e in listed] == ["a", "a/c", "a-b", "a.b", "b", "ü", "\udcff"]
    assert [e.path for e in listed] == sorted((e.path for e in listed), key=order)


@pytest.mark.parametrize("path", ["/a", "a/", "a//b", ".", "..", "a/..", "a/../b", "./a", "a\0b"])
def test_paths_that_are_not_clean_are_refused(path):
    with pytest.raises(Corrupt):
        EntryList.of([file(path)])


@pytest.mark.parametrize("path", ["..a", "a..", "a/..b", "...", "a/.b", ".w", "dash->dash", "wh.a"])
def test_names_that_only_look_odd_are_kept(path):
    assert EntryList.of([file(path)]).entries[0].path == path


@pytest.mark.parametrize("path", [".wh.a", "a/.wh.b", ".wh..wh..opq", ".wh./x"])
def test_names_that_would_be_read_back_as_deletions_are_refused(path):
    with pytest.raises(Unsupported):
        EntryList.of([file(path)])


def test_a_path_twice_or_below_a_file_is_refused():
    with pytest.raises(Corrupt, match="twice"):
        EntryList.of([file("a"), Entry("a", FOLDER)])
    with pytest.raises(Corrupt, match="below"):
        EntryList.of([file("a"), file("a/b/c")])
    with pytest.raises(Corrupt, match="below"):
        EntryList.of([Entry("a", WHITEOUT), file("a/b")])
    assert len(EntryList.of([file("a"), file("a.b"), file("ab")])) == 3


def test_what_means_nothing_is_dropped():
    listed = EntryList.of([Entry("w", WHITEOUT, 0o644, 5, 5, 77), Entry("l", SYMLINK, 0o600, target="x")])
    assert listed.get("w") == Entry("w", WHITEOUT)
    assert listed.get("l").mode == 0o777


def test_hard_links_have_the_metadata_of_their_file_and_come_after_it():
    listed = EntryList.of([file("b", mode=0o4755, uid=7), Entry("c", HARDLINK, target="b")])
    assert listed.get("c") == Entry("c", HARDLINK, 0o4755, 7, target="b")
    with pytest.raises(Corrupt):
        EntryList.of([file("b"), Entry("a", HARDLINK, target="b")])
    with pytest.raises(Corrupt):
        EntryList.of([Entry("a", HARDLINK, target="nothing")])


def test_digest_has_whole_seconds_and_content_digest_no_time():
    base = EntryList.of([file("a", mtime=5_000_000_001)])
    assert base.digest == EntryList.of([file("a", mtime=5_999_999_999)]).digest
    later = EntryList.of([file("a", mtime=6_000_000_000)])
    assert base.digest != later.digest
    assert base.content_digest == later.content_digest == later.not_later(0).content_digest
    assert base.digest != base.content_digest
    with pytest.raises(ValueError, match="no content digest"):
        _ = EntryList.of([file("a", digest="")]).digest


@pytest.mark.parametrize(
    "change",
    [
        {"path": "b"}, {"mode": 0o600}, {"uid": 1}, {"gid": 1}, {"size": 4}, {"digest": Digest.of(b"two")},
        {"xattrs": (("security.capability", b"x"),)}, {"path": "\udcff"},
    ],
)  # fmt: skip
def test_everything_that_reaches_the_blob_is_in_both_digests(change):
    base = file("a")
    other = msgspec.structs.replace(base, **change)
    assert EntryList.of([base]).digest != EntryList.of([other]).digest
    assert EntryList.of([base]).content_digest != EntryList.of([other]).content_digest


def test_opaque_is_in_the_digest_and_must_be_a_folder():
    assert EntryList.of([], ["a"]).digest != EntryList.of([]).digest
    with pytest.raises(Corrupt, match="opaque"):
        EntryList.of([file("a")], ["a"])


@given(entry_lists(opaque=True))
def test_encode_and_decode_are_inverse(made):
    listed, _ = made
    again = EntryList.decode(listed.encode())
    assert again == listed
    assert again.digest == listed.digest


@pytest.mark.parametrize("data", [b"", b"garbage", EntryList.of([file("a")]).encode()[:-9]])
def test_damaged_rows_are_corrupt(data):
    with pytest.raises(Corrupt):
        EntryList.decode(data)


@given(entry_lists(opaque=True))
def test_of_is_idempotent_and_order_does_not_matter(made):
    listed, _ = made
    assert EntryList.of(reversed(listed.entries), listed.opaque) == listed


@given(entry_lists(opaque=True))
def test_children_reach_every_path_and_every_implied_folder(made):
    listed, _ = made
    reached = {""}
    for folder, names in listed.children.items():
        assert names == sorted(set(names), key=order)
        reached |= {f"{folder}/{name}" if folder else name for name in names}
    assert {e.path for e in listed} | set(listed.opaque) | {""} <= reached
    assert all(folder in reached for folder in listed.children)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 999, 1000, 1001, 70_000])
def test_the_digest_is_of_one_document_however_it_is_fed(count):
    """Stores keep layers by it."""
    entries = EntryList(tuple(file(f"f{number:05}", mtime=number * 10**9) for number in range(count)))
    rows = [
        (e.path, e.kind, e.mode, e.uid, e.gid, e.mtime // 10**9, e.size, "", 0, 0, (), str(e.digest)) for e in entries
    ]
    assert entries.digest == Digest.of(msgspec.msgpack.encode(("trimaran.layer.1", (), rows)))


def test_the_digest_of_names_that_are_no_text():
    odd = "caf\udce9"
    entries = EntryList.of([Entry("d", FOLDER), file("d/b"), file(f"d/{odd}")], [])
    rows = [list(msgspec.structs.astuple(e)) for e in entries]
    rows[2][0] = "\0d/caf\xe9"
    for row in rows:
        row[11] = str(row[11])
    assert entries.digest == Digest.of(msgspec.msgpack.encode(("trimaran.layer.1", (), rows)))


@given(entry_lists(opaque=True))
def test_folders_are_those_of_the_index(made):
    entries, _ = made
    assert entries.folders() == {path for path, names in entries.children.items() if names}
    assert entries.root == entries.get("")


def test_a_list_may_have_the_name_that_its_making_gave_it():
    """What making dated, by the moment it began, is in no name; everything else is."""
    made = EntryList.of([Entry("a", FOLDER, mtime=7_000_000_001), Entry("a/b", FOLDER, mtime=3)])
    assert made.may_be(made.digest)
    assert made.may_be(made.digest_of(made=7_000_000_001))
    other = EntryList.of([Entry("a", FOLDER, mtime=7_000_000_001), Entry("a/c", FOLDER, mtime=3)])
    assert not made.may_be(other.digest_of(made=7_000_000_001))
    assert made.may_be(made.digest_of(made=7_000_000_001, undated=0)), "so older stores call it"


def test_what_making_dated_is_not_what_was_to_be_of_1970():
    """A build that is to be the same anywhere would find the folder that another build of the store dated otherwise."""
    now = 7_000_000_001
    assert (
        EntryList.of([Entry("a", FOLDER, mtime=now)]).digest_of(made=now) != EntryList.of([Entry("a", FOLDER)]).digest
    )
