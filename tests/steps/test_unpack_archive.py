"""Archives land in a draft: parents that they only name are made, and nothing else is touched."""

from __future__ import annotations

from trimaran.steps.draft import Draft
from trimaran.steps.unpack import Unpacked
from trimaran.store.entries import FILE, FOLDER, HARDLINK, SYMLINK, WHITEOUT, Entry, EntryList
from trimaran.store.folder import Folder
from trimaran.store.tree import Tree

DIGEST = "sha256:" + "0" * 64


def placed(folder, *entries, base=(), owner=None):
    draft = Draft(Tree([EntryList.of(base)]))
    Unpacked(EntryList.of(entries), Folder(str(folder))).place(draft, "out", owner=owner, now=9)
    return draft


def test_folders_that_the_archive_only_names_are_made(tmp_path):
    draft = placed(tmp_path, Entry("implied/parent/x", FILE, 0o640, 1, 2, 3, digest=DIGEST), owner=(5, 6))
    for path in ("out", "out/implied", "out/implied/parent"):
        made = draft.get(path)
        assert (made.kind, made.mode, made.uid, made.gid, made.mtime) == (FOLDER, 0o755, 0, 0, 9)
    assert (draft.get("out/implied/parent/x").uid, draft.get("out/implied/parent/x").mtime) == (5, 3)


def test_folders_that_are_there_are_left_alone(tmp_path):
    base = [Entry("out", FOLDER, 0o700, 7, 7, 1), Entry("out/kept", FOLDER, 0o711, 7, 7, 1)]
    draft = placed(tmp_path, Entry("kept/x", FILE, 0o644, digest=DIGEST), base=base)
    assert set(draft.entries) == {"out/kept/x"}


def test_links_on_the_way_lead_below_the_destination(tmp_path):
    """As in BuildKit; the hard links of an archive go where their file went."""
    base = [
        Entry("out", FOLDER, 0o755),
        Entry("out/absolute", SYMLINK, target="/elsewhere"),
        Entry("out/upwards", SYMLINK, target="../../../../up"),
    ]
    made = [
        Entry("absolute/a", FILE, 0o644, digest=DIGEST),
        Entry("absolute/b", HARDLINK, target="absolute/a"),
        Entry("upwards/c", HARDLINK, target="absolute/a"),
    ]
    draft = placed(tmp_path, *made, base=base)
    assert draft.get("out/elsewhere/a").kind == FILE
    assert draft.get("out/elsewhere/b").target == "out/elsewhere/a"
    assert draft.get("out/up/c").target == "out/elsewhere/a"
    assert len(draft.finish()) == 5, "and the two folders"


def test_a_folder_of_the_archive_replaces_a_link(tmp_path):
    base = [Entry("out/lib", SYMLINK, target="/elsewhere"), Entry("out/file/x", FILE, digest=DIGEST)]
    draft = placed(tmp_path, Entry("lib", FOLDER, 0o700), Entry("file", FILE, 0o644, digest=DIGEST), base=base)
    assert draft.get("out/lib").mode == 0o700
    assert draft.get("out/file").kind == FILE


def test_what_was_put_below_what_is_removed_goes_too():
    """However deep, and whoever made the folders above it."""
    draft = Draft(Tree([EntryList.of([Entry("a/b/c/base", FILE, digest=DIGEST), Entry("ab", FILE, digest=DIGEST)])]))
    for path in ("a/b/c/d", "a/e", "ab"):
        draft.put(Entry(path, FILE, 0o644, digest=DIGEST))
    draft.remove("a")
    assert {path: entry.kind for path, entry in draft.entries.items()} == {"a": WHITEOUT, "ab": FILE}
    assert draft.children("") == ["ab"]
    draft.put(Entry("a", FOLDER, 0o755))
    draft.put(Entry("a/b", FOLDER, 0o755))
    draft.put(Entry("a/b/new", FILE, 0o644, digest=DIGEST))
    assert draft.children("a/b") == ["new"]
    draft.remove("a")
    assert set(draft.entries) == {"a", "ab"}
