"""What differs between two roots, decided on their trees."""

from __future__ import annotations

from trimaran.steps.diff import changes, implied_folders
from trimaran.store.entries import FILE, FOLDER, SYMLINK, WHITEOUT, Entry, EntryList
from trimaran.store.tree import Tree


def layer(*entries: Entry) -> EntryList:
    return EntryList.of(entries)


def file(path: str, **fields: object) -> Entry:
    return Entry(path, FILE, **{"mode": 0o644, "size": 1, "mtime": 5, **fields})  # type: ignore[arg-type]


def folder(path: str, mode: int = 0o755, **fields: object) -> Entry:
    return Entry(path, FOLDER, mode, **fields)  # type: ignore[arg-type]


def told(lower: EntryList, upper: EntryList) -> tuple[dict[str, str], list[str]]:
    found = changes(Tree.stack([lower]), Tree.stack([upper]))
    return {entry.path: entry.kind for entry in found.entries}, found.alike


def test_headers_decide_and_content_only_where_they_are_equal() -> None:
    lower = layer(*[file(name) for name in "abcdef"], file("empty", size=0), file("same", digest="d"))
    upper = layer(
        file("a", size=2),
        file("b", mtime=6),
        file("c", mode=0o600),
        file("d", uid=1),
        file("e", xattrs=(("security.capability", b"x"),)),
        file("f"),
        file("empty", size=0),
        file("same", digest="d"),
    )
    assert told(lower, upper) == (dict.fromkeys("abcde", FILE), ["f"])


def test_a_file_that_both_have_of_one_layer_is_never_read() -> None:
    shared = layer(file("a"))
    found = changes(Tree.stack([shared, layer(file("b"))]), Tree.stack([shared]))
    assert ([(entry.path, entry.kind) for entry in found.entries], found.alike) == ([("b", WHITEOUT)], [])


def test_times_of_folders_do_not_count_but_their_modes_do() -> None:
    lower = layer(folder("a", mtime=1), folder("b"), file("a/x"), file("b/x"))
    upper = layer(folder("a", mtime=2), folder("b", 0o700), file("a/x", mtime=6), file("b/x", digest=""))
    assert told(lower, upper) == ({"b": FOLDER, "a/x": FILE}, ["b/x"])


def test_kinds_that_replace_one_another() -> None:
    lower = layer(
        folder("a"), file("a/x"), file("b"), Entry("c", SYMLINK, target="x", mtime=5), folder("gone"), file("gone/x")
    )
    upper = layer(file("a"), folder("b"), file("b/y"), Entry("c", SYMLINK, target="y", mtime=5))
    assert told(lower, upper)[0] == {"a": FILE, "b": FOLDER, "b/y": FILE, "c": SYMLINK, "gone": WHITEOUT}


def test_folders_that_layers_leave_to_what_is_below() -> None:
    base = layer(folder("a"), folder("a/b"), folder("c"), folder("d"))
    one = layer(Entry("a/b/x", WHITEOUT), file("d/y"), file("e/z"))
    two = layer(folder("d", 0o700), Entry("e", WHITEOUT))
    found = implied_folders([one, two], Tree.stack([base, one, two]))
    assert sorted(entry.path for entry in found) == ["a", "a/b"]
