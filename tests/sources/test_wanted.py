"""What of a context is listed: .dockerignore takes away, the paths COPY names narrow."""

import os

import pytest

from trimaran.aio import Cancel
from trimaran.sources.wanted import Wanted
from trimaran.store.entries import EntryList
from trimaran.store.folder import Folder

TREE = ["src/a.py", "src/deep/b.py", "node_modules/x/i.js", "node_modules/keep/j.js", "docs/c.md", "top"]


@pytest.fixture
def context(tmp_path):
    for path in TREE:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    return tmp_path


def scan(context, *, include=(), exclude=()):
    wanted = Wanted(include=include, exclude=exclude)
    with Folder(str(context)) as folder:
        while True:
            entries = EntryList.of(folder.scan(Cancel(), wanted=wanted.verdict))
            if not wanted.follow_links(entries):
                return [entry.path for entry in entries]


def test_everything(context):
    assert scan(context) == [
        "docs", "docs/c.md", "node_modules", "node_modules/keep", "node_modules/keep/j.js", "node_modules/x",
        "node_modules/x/i.js", "src", "src/a.py", "src/deep", "src/deep/b.py", "top",
    ]  # fmt: skip


def test_only_what_is_copied(context):
    assert scan(context, include=("src/deep",)) == ["src", "src/deep", "src/deep/b.py"]
    assert scan(context, include=("src/*.py", "top")) == ["src", "src/a.py", "top"]


def test_excluded_folders_are_not_entered(context):
    os.chmod(context / "node_modules", 0)
    assert "node_modules" not in scan(context, exclude=("node_modules/",))


def test_a_later_pattern_takes_back(context):
    got = scan(context, exclude=("node_modules", "!node_modules/keep"))
    assert [path for path in got if path.startswith("node")] == [
        "node_modules", "node_modules/keep", "node_modules/keep/j.js",
    ]  # fmt: skip


def test_excluded_wins_over_copied(context):
    assert scan(context, include=("src",), exclude=("**/*.py",)) == ["src", "src/deep"]


def test_symlinks_bring_what_they_lead_to(context):
    (context / "link").symlink_to("src/deep")
    (context / "outside").symlink_to("../../etc")
    assert scan(context, include=("link",)) == ["link", "src", "src/deep", "src/deep/b.py"]
    assert scan(context, include=("outside",)) == ["outside"]
