from __future__ import annotations

import msgspec
import pytest
from entry_lists import entry_lists
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import NotFound, UsageError
from trimaran.store.entries import FILE, FOLDER, HARDLINK, SYMLINK, WHITEOUT, Entry, EntryList, implied, order
from trimaran.store.tree import Tree


def stack(*layers, opaque=()):
    return Tree.stack([EntryList.of(layer, opaque if i == len(layers) - 1 else ()) for i, layer in enumerate(layers)])


def folder(path, mode=0o755):
    return Entry(path, FOLDER, mode)


def file(path, size=1):
    return Entry(path, FILE, 0o644, size=size)


def link(path, target):
    return Entry(path, SYMLINK, 0o777, target=target)


def test_the_root_is_always_there():
    tree = stack()
    assert tree.get("") == implied("")
    assert tree.children("") == []
    assert [e.path for e in tree.walk()] == [""]
    assert tree.layer("") == -1
    assert stack([folder("", 0o700)], [file("a")]).get("").mode == 0o700


def test_upper_layers_win_and_folders_merge():
    tree = stack([folder("d", 0o700), file("d/a"), file("d/b")], [file("d/a", 9), file("d/c")])
    assert tree.children("d") == ["a", "b", "c"]
    assert tree.get("d/a").size == 9
    assert tree.get("d").mode == 0o700, "an implied folder leaves the lower one's metadata"
    assert [tree.layer(p) for p in ("d", "d/a", "d/b", "d/c")] == [0, 1, 0, 1]
    with pytest.raises(NotFound):
        tree.layer("d/x")


def test_whiteouts_hide_and_later_layers_may_bring_back():
    tree = stack([folder("d"), file("d/a"), file("d/b")], [Entry("d", WHITEOUT)], [file("d/n")])
    assert tree.children("d") == ["n"]
    assert tree.get("d/a") is None
    assert tree.get("d") == implied("d")
    assert tree.layer("d") == 2


@pytest.mark.parametrize("over", [file("d"), link("d", "/e"), Entry("d", WHITEOUT)])
def test_what_is_no_folder_hides_all_below(over):
    tree = stack([folder("d"), file("d/a"), folder("e"), file("e/a")], [over])
    assert tree.get("d/a") is None
    assert tree.children("d") == []
    above = Tree.stack([*tree.layers, EntryList.of([folder("d"), file("d/z")])])
    assert above.children("d") == ["z"]


def test_opaque_folders_hide_what_is_below_them_only():
    tree = stack([folder("d"), file("d/a"), folder("d/s"), file("d/s/x"), file("k")], [file("d/n")], opaque=["d"])
    assert tree.children("d") == ["n"]
    assert tree.children("") == ["d", "k"]
    assert tree.get("d/s/x") is None
    assert stack([folder("d"), file("d/a")], [], opaque=["d"]).children("d") == []


def test_hard_links_come_as_files():
    tree = stack([file("a", 5), Entry("b", HARDLINK, target="a")], [Entry("a", WHITEOUT)])
    assert tree.get("a") is None
    assert tree.get("b") == file("b", 5)


RESOLVE = [
    ("/", ""), ("", ""), ("a/./b//", "a/b"), ("../../x", "x"), ("usr/../../etc", "etc"),
    ("lib/x", "usr/lib/x"), ("abs/f", "usr/lib/f"), ("up/f", "f"), ("chain/f", "usr/lib/f"), ("missing/../lib/q", "usr/lib/q"),
    ("lib/../y", "usr/y"), ("deep/in", "usr/lib/in"), ("dangling/q", "no/where/q"), ("lib", "usr/lib"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "expected"), RESOLVE)
def test_resolve_stays_in_the_root(path, expected):
    tree = stack(
        [folder("usr"), folder("usr/lib"), link("lib", "usr/lib"), link("abs", "/usr/lib"), link("up", "../../../.."),
         link("chain", "abs/../lib"), link("usr/deep", "./lib"), link("deep", "usr/deep"), link("dangling", "/no/where")]
    )  # fmt: skip
    assert tree.resolve(path) == expected


def test_resolve_can_leave_the_last_link_and_finds_loops():
    tree = stack([link("a", "b"), link("b", "a"), link("l", "t"), link("self", "self/x")])
    assert tree.resolve("l", follow_last=False) == "l"
    assert tree.resolve("l") == "t"
    for path in ("a", "b/c", "self"):
        with pytest.raises(UsageError):
            tree.resolve(path)
    long = stack([link(f"l{i}", f"l{i + 1}") for i in range(200)])
    assert long.resolve("l0") == "l200"


def naive(layers):
    """The merged view by applying one layer after the other, as an unpacker would."""
    view: dict[str, Entry] = {}

    def drop(path):
        for below in [p for p in view if p == path or p.startswith(path + "/")]:
            del view[below]

    for layer in layers:
        for path in layer.opaque:
            for below in [p for p in view if p.startswith(path + "/")]:
                del view[below]
        needed = [e.path for e in layer if e.kind != WHITEOUT] + list(layer.opaque)
        for entry in layer:
            if entry.kind != FOLDER or (entry.path in view and view[entry.path].kind != FOLDER):
                drop(entry.path)
        # overlayfs creates the parents of a whiteout too
        for path in needed + [e.path for e in layer if e.kind == WHITEOUT]:
            parts = path.split("/") if path else []
            for i in range(1, len(parts) + (path in layer.opaque)):
                above = "/".join(parts[:i])
                if above not in view or view[above].kind != FOLDER:
                    drop(above)
                    view[above] = implied(above)
        for entry in layer:
            if entry.kind == HARDLINK:
                view[entry.path] = msgspec.structs.replace(layer.get(entry.target), path=entry.path)
            elif entry.kind != WHITEOUT:
                view[entry.path] = entry
    view.setdefault("", implied(""))
    return view


@given(st.lists(entry_lists(opaque=True, names=["a", "b", "c", "a.b"], max_size=12), max_size=4))
def test_the_merged_view_is_what_applying_layer_by_layer_gives(made):
    layers = [listed for listed, _ in made]
    expected = naive(layers)
    built = Tree.stack([])
    for layer in layers:
        assert list(built.walk())  # what was asked of the tree below does not come along
        built = built.on_top(layer)
    for tree in (Tree.stack(layers), built, built.anew()):
        walked = {entry.path: entry for entry in tree.walk()}
        assert walked == expected
        assert list(walked) == sorted(walked, key=order)
        for path, entry in expected.items():
            assert tree.get(path) == entry
            assert tree.layer(path) == built.layer(path)
            if tree.layer(path) >= 0 and tree.layers[tree.layer(path)].get(path):
                found = tree.layers[tree.layer(path)].get(path)
                assert found.kind in (entry.kind, HARDLINK)
