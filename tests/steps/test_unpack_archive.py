"""Archives land in a draft: parents that they only name are made, and nothing else is touched."""

from __future__ import annotations

from trimaran.steps.draft import Draft
from trimaran.steps.unpack import Unpacked
from trimaran.store.entries import FILE, FOLDER, Entry, EntryList
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
