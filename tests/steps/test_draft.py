import pytest

from trimaran.errors import Conflict, UsageError
from trimaran.steps.draft import Draft
from trimaran.store.entries import FILE, FOLDER, SYMLINK, WHITEOUT, Entry, EntryList
from trimaran.store.tree import Tree

D = "sha256:" + "0" * 64


def folder(path, mode=0o755):
    return Entry(path, FOLDER, mode)


def file(path, digest=D):
    return Entry(path, FILE, 0o644, digest=digest)


def link(path, target):
    return Entry(path, SYMLINK, 0o777, target=target)


def draft(*entries):
    return Draft(Tree.stack([EntryList.of(entries)]))


def paths(made):
    return [(entry.path, entry.kind) for entry in made.finish()]


def test_a_folder_that_is_not_plain_is_listed_above_what_is_put_in_it():
    made = draft(folder("tmp", 0o1777))
    made.put(file("tmp/a"))
    assert [(e.path, e.mode) for e in made.finish()] == [("tmp", 0o1777), ("tmp/a", 0o644)]


def test_existing_parents_are_not_emitted():
    made = draft(folder("app"))
    made.make_folders("app/lib", mode=0o755, uid=0, gid=0, mtime=0)
    made.put(file("app/lib/a"))
    assert paths(made) == [("app/lib", FOLDER), ("app/lib/a", FILE)]


def test_symlinks_are_followed_inside_the_root_only():
    made = draft(folder("data"), link("abs", "/data"), link("up", "../../../data"), link("host", "/../../etc"))
    assert made.resolve("abs/x") == "data/x"
    assert made.resolve("up/x") == "data/x"
    assert made.resolve("host/passwd") == "etc/passwd"
    assert made.resolve("abs", follow_last=False) == "abs"


def test_a_ring_of_symlinks_is_an_error():
    made = draft(link("a", "b"), link("b", "a"))
    with pytest.raises(UsageError, match="symbolic links"):
        made.resolve("a/x")


def test_removed_folder_that_comes_back_hides_what_was_below():
    made = draft(folder("d"), file("d/old"))
    made.remove("d")
    assert made.get("d/old") is None
    made.put(folder("d"))
    assert made.get("d") is not None
    assert made.get("d/old") is None
    assert paths(made) == [("d", FOLDER), ("d/old", WHITEOUT)]


def test_removing_what_only_the_draft_has_leaves_nothing():
    made = draft()
    made.put(file("x"))
    made.remove("x")
    assert paths(made) == []


def test_file_and_folder_do_not_replace_each_other():
    made = draft(folder("d"), file("f"))
    with pytest.raises(Conflict):
        made.put(file("d"))
    with pytest.raises(Conflict):
        made.put(folder("f"))


def test_children_are_merged_from_both_sides():
    made = draft(folder("d"), file("d/a"), file("d/b"))
    made.remove("d/a")
    made.put(file("d/c"))
    assert made.children("d") == ["b", "c"]


def test_fork_goes_its_own_way():
    made = draft()
    made.put(file("x"))
    other = made.fork()
    other.put(file("y"))
    assert paths(made) == [("x", FILE)]
    assert paths(other) == [("x", FILE), ("y", FILE)]
