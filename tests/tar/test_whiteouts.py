from __future__ import annotations

import pytest

from trimaran.errors import Corrupt
from trimaran.tar.whiteouts import deleted, is_bookkeeping, is_opaque, whiteout


@pytest.mark.parametrize("path", ["a", "a/b", "a/b/ü", "a/wh.b"])
def test_a_deletion_is_read_back(path):
    assert deleted(whiteout(path)) == path
    assert deleted(path) is None


@pytest.mark.parametrize("path", [".wh.", "a/.wh.", ".wh..", ".wh...", "a/.wh...", ".wh./x", "a/.wh.b/c"])
def test_deletions_of_no_name_are_refused(path):
    with pytest.raises(Corrupt):
        deleted(path)


@pytest.mark.parametrize("path", [".wh", "a.wh.b", "x/.wha", "wh..b", "...wh.a"])
def test_names_that_only_look_like_deletions(path):
    assert deleted(path) is None
    assert not is_opaque(path)
    assert not is_bookkeeping(path)


def test_markers():
    assert is_opaque("a/.wh..wh..opq")
    assert not is_bookkeeping("a/.wh..wh..opq")
    assert is_bookkeeping(".wh..wh.plnk/1.2")
    assert is_bookkeeping(".wh..wh.aufs")
    assert deleted(".wh....") == "..."
