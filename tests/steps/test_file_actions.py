"""rm of a file op, on trees alone: it takes away what it names and nothing above it (T30, GHSA-32pv-7hq5-qhwq)."""

from __future__ import annotations

import pytest

from trimaran.errors import NotFound
from trimaran.graph.ops import RmAction
from trimaran.steps.draft import Draft
from trimaran.steps.file import _remove
from trimaran.store.entries import FILE, FOLDER, SYMLINK, Entry, EntryList
from trimaran.store.tree import Tree

D = "sha256:" + "0" * 64
BASE = Tree.stack(
    [
        EntryList.of(
            [
                Entry("a", FOLDER, 0o755),
                Entry("a/f", FILE, 0o644, size=1, digest=D),
                Entry("a/..b", FILE, 0o644, size=1, digest=D),
                Entry("a/link", SYMLINK, 0o777, target="/victim"),
                Entry("a/up", SYMLINK, 0o777, target="../../.."),
                Entry("a/out", SYMLINK, 0o777, target="../../../../etc"),
                Entry("a/x\\y", FILE, 0o644, size=1, digest=D),
                Entry("victim", FOLDER, 0o755),
                Entry("victim/f", FILE, 0o644, size=1, digest=D),
            ]
        )
    ]
)


def removed(path, *, wildcard=False, missing_ok=False):
    draft = Draft(BASE)
    _remove(RmAction(path=path, allow_wildcard=wildcard, allow_not_found=missing_ok), draft)
    return sorted(entry.path for entry in draft.finish() if entry.kind == "whiteout")


@pytest.mark.parametrize("path", ["..", "../..", "/..", "a/..", "a/../..", "/", ".", "", "a/../../..", "./"])
def test_the_root_and_what_is_above_it_cannot_be_removed(path):
    with pytest.raises(NotFound, match="remove"):
        removed(path)
    for wildcard in (False, True):
        assert removed(path, missing_ok=True, wildcard=wildcard) == []


@pytest.mark.parametrize("path", ["../none", "..\\..\\victim", "..\\victim", "a\\f", "a/out/passwd", "a/up/none"])
def test_what_is_not_in_the_root_is_not_found(path):
    with pytest.raises(NotFound):
        removed(path)
    assert removed(path, missing_ok=True, wildcard=True) == []


def test_a_link_is_removed_itself_and_followed_on_the_way():
    assert removed("a/link") == ["a/link"]
    assert removed("a/up") == ["a/up"]
    assert removed("a/out") == ["a/out"]
    assert removed("a/link/f") == ["victim/f"]
    assert removed("a/up/victim/f") == ["victim/f"], "which leads to the root, not above it"


def test_names_that_only_look_hostile_are_names():
    assert removed("../victim") == ["victim"]
    assert removed("a/..b") == ["a/..b"]
    assert removed("a/x\\y") == ["a/x\\y"]
    assert removed("a/*f", wildcard=True) == ["a/f"]
    assert removed("a/..*", wildcard=True) == ["a/..b"]
    assert removed("a/*", wildcard=True) == sorted(["a/f", "a/..b", "a/link", "a/up", "a/out", "a/x\\y"])
    assert removed("*", wildcard=True) == ["a", "victim"]
