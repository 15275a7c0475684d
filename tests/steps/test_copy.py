"""Where COPY puts things: the table of cases people know from docker, on trees alone."""

import pytest

from trimaran.errors import Conflict
from trimaran.graph.ops import CopyAction
from trimaran.steps import select
from trimaran.steps.copy import Copier, Placement
from trimaran.steps.draft import Draft
from trimaran.steps.modes import parse_mode
from trimaran.store.entries import FILE, FOLDER, HARDLINK, SYMLINK, Entry, EntryList
from trimaran.store.folder import Inline
from trimaran.store.tree import Tree

D = "sha256:" + "0" * 64


def folder(path, mode=0o755):
    return Entry(path, FOLDER, mode)


def file(path, mode=0o644):
    return Entry(path, FILE, mode, size=1, digest=D)


def link(path, target):
    return Entry(path, SYMLINK, 0o777, target=target)


SOURCE = Tree.stack([
    EntryList.of([
        file("a.txt"),
        file("b.txt"),
        folder("dir", 0o700),
        file("dir/x"),
        folder("dir/sub"),
        file("dir/sub/y", 0o755),
        link("tolink", "dir/x"),
        link("todir", "dir"),
    ])
])  # fmt: skip


def copy(src, dest, *base, owner=None, mode="", octal=-1, contents=True):
    action = CopyAction(
        src=src,
        dest=dest,
        follow_symlink=True,
        dir_copy_contents=contents,
        create_dest_path=True,
        allow_wildcard=True,
        allow_empty_wildcard=True,
    )
    draft = Draft(Tree.stack([EntryList.of(base)]))
    chosen = select.sources(SOURCE, action)
    files = select.files(SOURCE, chosen)
    placement = Placement(owner=owner, mode=parse_mode(octal, mode), now=5)
    copier = Copier(draft, SOURCE, dict.fromkeys(files, D), dict.fromkeys(files, Inline(b"1")), placement)
    for source in chosen:
        copier.copy(source, action)
    return draft


def listed(draft):
    return [entry.path for entry in draft.finish()]


@pytest.mark.parametrize(
    ("src", "dest", "base", "made"),
    [
        ("/a.txt", "/", [], ["a.txt"]),
        ("/a.txt", "/new.txt", [], ["new.txt"]),
        ("/a.txt", "/app/", [], ["app", "app/a.txt"]),
        ("/a.txt", "/app/new", [], ["app", "app/new"]),
        ("/a.txt", "/app", [folder("app")], ["app/a.txt"]),
        ("/a.txt", "/app", [folder("real"), link("app", "real")], ["real/a.txt"]),
        ("/a.txt", "/f", [folder("real"), link("f", "real/other")], ["real/other"]),
        ("/dir", "/out", [], ["out", "out/sub", "out/sub/y", "out/x"]),
        ("/dir", "/out", [folder("out")], ["out/sub", "out/sub/y", "out/x"]),
        ("/dir/", "/out/", [], ["out", "out/sub", "out/sub/y", "out/x"]),
        ("/todir", "/out", [], ["out", "out/sub", "out/sub/y", "out/x"]),
        ("/tolink", "/out/", [], ["out", "out/tolink"]),
        ("/*.txt", "/t/", [], ["t", "t/a.txt", "t/b.txt"]),
        ("/d*", "/t/", [], ["t", "t/sub", "t/sub/y", "t/x"]),
        ("/dir/s*/y", "/t/", [], ["t", "t/y"]),
        ("/none*", "/t/", [], []),
        ("/", "/all", [folder("all")], None),
    ],
)
def test_places(src, dest, base, made):
    got = listed(copy(src, dest, *base))
    if made is None:
        assert "all/dir/sub/y" in got
        assert "all/tolink" in got
    else:
        assert got == made


def test_new_destination_is_made_like_a_parent_and_an_existing_keeps_its_mode():
    made = copy("/dir", "/out").get("out")
    assert (made.mode, made.mtime) == (0o755, 0)  # the source's time, so that the layer is the same tomorrow
    assert copy("/dir", "/out", folder("out", 0o711)).get("out").mode == 0o711
    assert copy("/dir", "/out", folder("out"), folder("out/sub", 0o711)).get("out/sub").mode == 0o755


def test_symlinks_below_a_folder_stay_symlinks():
    assert copy("/", "/all", folder("all")).get("all/tolink").kind == SYMLINK


def test_the_source_of_a_symlink_is_followed():
    assert copy("/tolink", "/out").get("out").kind == FILE


def test_owner_is_set_on_everything_made():
    draft = copy("/dir", "/new/out", owner=(5, 6))
    assert {(entry.uid, entry.gid) for entry in draft.finish()} == {(5, 6)}


@pytest.mark.parametrize(("octal", "made"), [(0o700, 0o700), (0o444, 0o444), (0o777, 0o755), (0o1777, 0o755)])
def test_new_parents_get_what_a_umask_leaves_of_an_octal_mode(octal, made):
    draft = copy("/dir/x", "/new/parent/x", octal=octal)
    assert [draft.get(path).mode for path in ("new", "new/parent", "new/parent/x")] == [made, made, octal]


def test_new_parents_do_not_follow_a_symbolic_mode():
    assert copy("/dir/x", "/new/x", mode="u=rwx,go=").get("new").mode == 0o755


def test_octal_mode_is_set_on_files_and_folders():
    draft = copy("/dir", "/out", mode="u=rwX,go=rX")
    assert draft.get("out/x").mode == 0o644
    assert draft.get("out/sub/y").mode == 0o755
    assert draft.get("out").mode == 0o755


def test_missing_source_is_named():
    with pytest.raises(select.MissingSource, match='"/nope": not found'):
        copy("/nope", "/")


def test_a_source_cannot_climb_out():
    with pytest.raises(select.MissingSource):
        copy("/../../etc/passwd", "/")
    assert listed(copy("/../../a.txt", "/")) == ["a.txt"]


def test_folder_over_a_file_is_refused():
    with pytest.raises(Conflict):
        copy("/dir", "/f", file("f"))


def test_hard_links_stay_links_within_one_folder():
    tree = Tree.stack([EntryList.of([folder("d"), file("d/one"), Entry("d/two", HARDLINK, target="d/one")])])
    action = CopyAction(src="/d", dest="/out", dir_copy_contents=True, create_dest_path=True, allow_wildcard=True)
    draft = Draft(Tree.stack([]))
    chosen = select.sources(tree, action)
    files = select.files(tree, chosen)
    placement = Placement(owner=None, mode=None, now=0)
    copier = Copier(draft, tree, dict.fromkeys(files, D), dict.fromkeys(files, Inline(b"1")), placement)
    copier.copy(chosen[0], action)
    assert [(e.path, e.kind, e.target) for e in draft.finish()] == [
        ("out", FOLDER, ""),
        ("out/one", FILE, ""),
        ("out/two", HARDLINK, "out/one"),
    ]


def test_selection_digest_ignores_times_but_no_other_change():
    def digest(entry):
        tree = Tree.stack([EntryList.of([entry])])
        action = CopyAction(src="/f", dest="/")
        return select.digest(tree, select.sources(tree, action), {"f": entry.digest})

    plain = Entry("f", FILE, 0o644, mtime=1, size=1, digest=D)
    assert digest(plain) == digest(Entry("f", FILE, 0o644, mtime=2, size=1, digest=D))
    other = "sha256:" + "1" * 64
    for changed in (
        Entry("f", FILE, 0o600, size=1, digest=D),
        Entry("f", FILE, 0o644, uid=1, size=1, digest=D),
        Entry("f", FILE, 0o644, gid=1, size=1, digest=D),
        Entry("f", FILE, 0o644, size=1, digest=other),
        Entry("f", FILE, 0o644, size=1, digest=D, xattrs=(("security.capability", b"x"),)),
    ):
        assert digest(plain) != digest(changed)
