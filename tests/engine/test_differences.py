from __future__ import annotations

from entry_lists import entry_lists
from hypothesis import given

from trimaran.cli.differences import lines, tree
from trimaran.engine import differences
from trimaran.engine.differences import (
    AGAIN,
    FieldChange,
    FileChange,
    ImageDifference,
    ImageSide,
    LayerDigests,
    PlatformDifference,
    common,
    compare_files,
    compare_history,
    compare_layers,
    compare_values,
    needs_common,
)
from trimaran.store.entries import FILE, FOLDER, HARDLINK, SYMLINK, WHITEOUT, Entry, EntryList
from trimaran.store.tree import Tree

NAMES = ["a", "b", "c"]


def file(path, digest="sha256:1", **fields):
    return Entry(path, FILE, **{"mode": 0o644, "size": 3, "digest": digest, **fields})


def layer(*entries, opaque=()):
    return EntryList.of(entries, opaque)


def told(changes):
    return {(change.path, change.change, tuple(field.name for field in change.fields)) for change in changes}


def test_each_attribute_of_a_file_is_told():
    base = file("f", mtime=10**9)
    others = {
        "content": file("f", "sha256:2", mtime=10**9),
        "mode": file("f", mode=0o755, mtime=10**9),
        "owner": file("f", uid=5, mtime=10**9),
        "time": file("f", mtime=2 * 10**9),
        "xattr.security.capability": file("f", mtime=10**9, xattrs=(("security.capability", b"x"),)),
    }
    for name, other in others.items():
        assert told(compare_files([], [layer(base)], [layer(other)])) == {("f", "changed", (name,))}
    assert not compare_files([], [layer(base)], [layer(file("f", mtime=10**9 + 5))]), "layers hold whole seconds"
    link = Entry("f", SYMLINK, target="x")
    assert ("type" in fields for _, _, fields in told(compare_files([], [layer(base)], [layer(link)])))


def test_a_removed_folder_is_told_once():
    below = [layer(Entry("d", FOLDER, 0o755), file("d/x"), file("d/y"), file("e"))]
    gone = [layer(Entry("d", WHITEOUT))]
    assert told(compare_files(below, gone, [])) == {("d", "added", ()), ("d/x", "added", ()), ("d/y", "added", ())}
    assert told(compare_files(below, [], gone)) == {("d", "removed", ())}
    hidden = [layer(Entry("d", FOLDER, 0o755), file("d/z"), opaque=["d"])]
    assert told(compare_files(below, [], hidden)) == {
        ("d/x", "removed", ()), ("d/y", "removed", ()), ("d/z", "added", ()),
    }  # fmt: skip


@given(entry_lists(opaque=True, names=NAMES), entry_lists(opaque=True, names=NAMES), entry_lists(names=NAMES))
def test_the_difference_is_that_of_the_whole_trees(first, second, shared):
    """Told from changed layers alone or with all that is below: the same, and what comparing every path would tell."""
    below, one, other = [shared[0]], [first[0]], [second[0]]
    found = compare_files(below, one, other)
    trees = [Tree.stack([*below, *lists]) for lists in (one, other)]
    views = [{entry.path: entry for entry in made.walk() if entry.path} for made in trees]
    gone = [
        each.path for each in found if each.change == "removed" or (each.fields and each.fields[0].before == FOLDER)
    ]
    for path in {*views[0], *views[1]}:
        before, after = views[0].get(path), views[1].get(path)
        change = next((each for each in found if each.path == path), None)
        if before is None or after is None:
            assert change is not None or any(path.startswith(f"{folder}/") for folder in gone)
        elif tuple(differences._fields(before, after)):
            assert change is not None
            assert change.change == "changed"
        else:
            assert change is None
    if not needs_common(one, other):
        assert compare_files([], one, other) == found


def test_documents_are_compared_field_by_field():
    before = {"config": {"Env": ["A=1", "B=2"], "Cmd": ["x"]}, "created": "1"}
    after = {"config": {"Env": ["A=1", "B=3", "C=4"], "Cmd": ["y"]}, "created": "1", "author": "me"}
    assert list(compare_values(before, after)) == [
        FieldChange("author", None, "me"),
        FieldChange("config.Cmd", ["x"], ["y"]),
        FieldChange("config.Env.B", "2", "3"),
        FieldChange("config.Env.C", None, "4"),
    ]
    assert [change.name for change in compare_values({"config": {"Env": ["A", "B"]}}, {"config": {"Env": ["B", "A"]}})]


def test_history_is_matched_by_what_it_says():
    before = [{"created_by": "FROM"}, {"created_by": "RUN a", "created": "1"}, {"created_by": "CMD"}]
    after = [{"created_by": "FROM"}, {"created_by": "COPY"}, {"created_by": "RUN a", "created": "2"}]
    found = [(each.number, each.change, each.created_by) for each in compare_history(before, after)]
    assert found == [(2, "added", "COPY"), (3, "changed", "RUN a"), (3, "removed", "CMD")]


def test_layers_are_compared_by_place():
    one, two, packed = (
        LayerDigests(blob, content, 1, "t") for blob, content in (("b1", "c1"), ("b2", "c2"), ("b3", "c1"))
    )
    assert [(each.number, each.change) for each in compare_layers([one, two], [one])] == [(2, "removed")]
    (repacked,) = compare_layers([one], [packed])
    assert repacked.is_repacked
    assert common(["a", "b"], ["a", "c"]) == 1


def test_the_text_is_a_tree():
    files = [
        FileChange("etc/conf/a", "added", "file", 12),
        FileChange(
            "etc/passwd", "changed", "file", 3, (FieldChange("mode", "0644", "0600"), FieldChange("time", 0, 1))
        ),
        FileChange("usr", "removed", "dir"),
    ]
    assert list(tree(files)) == [
        "  etc/",
        "    conf/",
        "    + a  (12B)",
        "  ~ passwd  mode 0644 → 0600, time 1970-01-01T00:00:00Z → 1970-01-01T00:00:01Z",
        "- usr/",
    ]
    sides = ImageSide("a", "sha256:1"), ImageSide(AGAIN, "sha256:2")
    made = ImageDifference(*sides, same=False, platforms=(PlatformDifference("linux/amd64", files=tuple(files)),))
    shown = list(lines(made))
    assert shown[:4] == ["--- a            sha256:1", "+++ built again  sha256:2", "linux/amd64", "  files"]
    assert list(lines(ImageDifference(*sides, same=True))) == [
        "a was built again, and is the same bit for bit: sha256:1"
    ]
    assert list(lines(ImageDifference(*sides, same=False)))[-1].startswith("the same config")


def test_a_second_name_of_a_file_is_told_from_a_copy():
    linked = layer(file("a"), Entry("b", HARDLINK, target="a"))
    apart = layer(file("a"), file("b"))
    assert compare_files([], [linked], [linked]) == []
    found = [*compare_files([], [linked], [apart]), *compare_files([], [apart], [linked])]
    assert told(found) == {("b", "changed", ("hard link",))}
    assert list(tree(found)) == ["~ b  no hard link to a", "~ b  hard link to a"]


def test_more_files_than_anybody_reads_are_counted():
    files = tuple(FileChange(f"{number:04}", "added" if number else "removed", "file") for number in range(1000))
    sides = (ImageSide("a", "sha256:1"), ImageSide("b", "sha256:2"))
    found = list(
        lines(ImageDifference(*sides, same=False, platforms=(PlatformDifference("linux/amd64", files=files),)))
    )
    assert len(found) == 205
    assert found[-1].strip() == "… and 800 more (in all 999 added, 1 removed): --json tells them"
