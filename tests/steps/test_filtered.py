"""What --exclude and --parents leave: as real BuildKit does it for the same tree (--exclude), and fsutil's rules."""

import pytest

from trimaran.errors import NotFound
from trimaran.graph.ops import CopyAction
from trimaran.steps import select
from trimaran.store.entries import FILE, FOLDER, SYMLINK, Entry, EntryList
from trimaran.store.tree import Tree

D = "sha256:" + "0" * 64
FOLDERS = ("a", "a/b", "a/b/c", "a/empty", "d")
FILES = ("a/1.txt", "a/2.md", "a/b/3.txt", "a/b/c/4.txt", "a/b/c/5.md", "d/6.txt", "top.md", "top.txt")
TREE = Tree.stack([
    EntryList.of([
        *(Entry(path, FOLDER, 0o700 if path == "a/b" else 0o755) for path in FOLDERS),
        *(Entry(path, FILE, 0o644, size=1, digest=D) for path in FILES),
        Entry("a/link", SYMLINK, 0o777, target="b"),
    ])
])  # fmt: skip


def copied(src, *, include=(), exclude=(), required=()):
    """Paths relative to their source, and the names of sources that are files."""
    chosen = select.sources(TREE, action(src, include, exclude, required))
    files = [source.name for source in chosen if source.entry.kind != FOLDER]
    folders = [source for source in chosen if source.entry.kind == FOLDER]
    return files + [path for source in folders for path, _ in select.below(TREE, source)]


def action(src, include=(), exclude=(), required=()):
    return CopyAction(
        src=src,
        dest="/o/",
        dir_copy_contents=True,
        allow_wildcard=True,
        allow_empty_wildcard=True,
        include_patterns=include,
        exclude_patterns=exclude,
        required_paths=required,
    )


@pytest.mark.parametrize(
    ("src", "exclude", "left"),
    [
        ("/a", ("b",), ["1.txt", "2.md", "empty", "link"]),
        ("/a", ("a/b",), ["1.txt", "2.md", "b", "b/3.txt", "b/c", "b/c/4.txt", "b/c/5.md", "empty", "link"]),
        ("/a", ("**/b", "!a/b/c"), ["1.txt", "2.md", "empty", "link"]),
        ("/a", ("*", "!**/*.md"), ["2.md", "b", "b/c", "b/c/5.md"]),
        ("/a", ("**/c",), ["1.txt", "2.md", "b", "b/3.txt", "empty", "link"]),
        ("/a", ("*",), []),
        ("/a/b", ("b",), ["3.txt", "c", "c/4.txt", "c/5.md"]),
        ("/top.txt", ("*.txt",), ["top.txt"]),
        ("/top*", ("*.txt",), ["top.md", "top.txt"]),
    ],
)
def test_exclude(src, exclude, left):
    assert copied(src, exclude=exclude) == left


@pytest.mark.parametrize(
    ("src", "include", "left"),
    [
        ("/", ("a/b/3.txt",), ["a", "a/b", "a/b/3.txt"]),
        ("/", ("a/b/c",), ["a", "a/b", "a/b/c", "a/b/c/4.txt", "a/b/c/5.md"]),
        ("/", ("a/empty",), ["a", "a/empty"]),
        ("/", ("a/*/3.txt",), ["a", "a/b", "a/b/3.txt"]),
        ("/", ("**/*.md",), ["a", "a/2.md", "a/b", "a/b/c", "a/b/c/5.md", "top.md"]),
        ("/", ("a/link",), ["a", "a/link"]),
        ("/", ("nope/*",), []),
        ("/a/b", ("c/4.txt",), ["c", "c/4.txt"]),
        ("/a/?", ("c/*.txt",), ["c", "c/4.txt"]),
        ("/t*", ("c",), []),
    ],
)
def test_include(src, include, left):
    assert copied(src, include=include) == left


def test_folders_on_the_way_are_as_in_the_source():
    source = select.sources(TREE, action("/", ("a/b/3.txt",)))[0]
    assert [(path, entry.mode) for path, entry in select.below(TREE, source)][1] == ("a/b", 0o700)


def test_both_together():
    assert copied("/", include=("a",), exclude=("**/*.md", "a/link")) == [
        *("a", "a/1.txt", "a/b", "a/b/3.txt", "a/b/c", "a/b/c/4.txt", "a/empty"),
    ]


def test_what_is_named_outright_has_to_be_there():
    assert copied("/", include=("a/1.txt",), required=("/a/1.txt",)) == ["a", "a/1.txt"]
    with pytest.raises(NotFound, match="/a/nope"):
        copied("/", include=("a/nope",), required=("/a/nope",))


def test_what_is_left_out_is_no_part_of_the_key():
    contents = dict.fromkeys(FILES, D)
    changed = contents | {"a/2.md": "sha256:" + "1" * 64}

    def key(exclude, known):
        return select.digest(TREE, select.sources(TREE, action("/a", exclude=exclude)), known)

    assert key(("*.md",), contents) == key(("*.md",), changed)
    assert key((), contents) != key((), changed)
    assert "a/2.md" not in select.files(TREE, select.sources(TREE, action("/a", exclude=("*.md",))))
