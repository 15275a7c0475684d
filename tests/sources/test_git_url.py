"""Git URLs: BuildKit's own tables, and what must not become an option of git."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trimaran.errors import UsageError
from trimaran.sources.git_url import clean_subdir, is_commit_sha, parse_git_url, parse_remote, source_op

TABLES = Path(os.environ.get("TRIMARAN_CASES") or Path(__file__).parents[3] / "shared" / "cases") / "tables.json"


def rows(test):
    if not TABLES.exists():
        return []
    tables = json.loads(TABLES.read_text())["cases"]
    return [row for table in tables if table["test"] == test for row in table["rows"]]


def as_expected(url):
    """In the table's words, values that are empty left out."""
    found = {
        "Remote": url.remote,
        "ShortName": url.remote.rpartition("/")[2].removesuffix(".git"),
        "Ref": url.ref,
        "SubDir": url.subdir,
        "Checksum": url.checksum,
        "MTime": url.mtime,
        "FetchByCommit": url.fetch_by_commit,
        "IndistinguishableFromLocal": url.is_ambiguous,
        "UnencryptedTCP": url.is_unencrypted,
    }
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize("row", rows("TestParseGitRef"), ids=lambda row: row["ref"])
def test_table_of_references(row):
    if "err" in row:
        with pytest.raises(UsageError, match=row["err"].replace("?", "\\?")):
            parse_git_url(row["ref"])
        return
    found = parse_git_url(row["ref"])
    if "expected" not in row:
        assert found is None
        return
    assert found is not None
    expected = dict(row["expected"])
    expected.setdefault("UnencryptedTCP", False)
    if not expected["UnencryptedTCP"]:
        del expected["UnencryptedTCP"]
    assert as_expected(found) == expected


@pytest.mark.parametrize("row", rows("TestNewGitIdentifier"), ids=lambda row: row["url"])
def test_table_of_identifiers(row):
    text = row["url"] if not row["url"].startswith("github.com") else row["url"]
    found = parse_git_url(text)
    assert found is not None
    op = source_op(found)
    expected = row["expected"]
    full = dict(op.attrs)["git.fullurl"]
    assert full == expected["Remote"]
    fragment = op.identifier.partition("#")[2]
    assert fragment.partition(":")[::2] == (expected.get("Ref", ""), expected.get("Subdir", ""))
    if "str" in row:
        assert op.identifier == row["str"]


@pytest.mark.parametrize("row", rows("TestParseURL"), ids=lambda row: row["url"])
def test_table_of_urls(row):
    found = parse_remote(row["url"])
    if row.get("err"):
        assert found is None
        return
    assert found is not None
    assert (found.host, found.path) == (row["result"]["Host"], row["result"]["Path"])
    assert found.scheme.upper() + "Protocol" == row["result"]["Scheme"]["?"].replace("Git", "GIT")


def test_table_of_commits():
    for row in rows("TestIsCommitSHA"):
        for text in row["value"]:
            assert is_commit_sha(text) is row["key"], text


@pytest.mark.parametrize(
    "text",
    [
        "--upload-pack=/tmp/evil.git",
        "-oProxyCommand=evil@host:x.git",
        "ssh://-oProxyCommand=evil/x.git",
        "ssh://-oProxyCommand=evil@host/x.git",
        "git@-oProxyCommand=evil:x.git",
        "git@host:-x.git",
        "ext::sh -c evil% .git",
        "ext://sh.git",
        "file:///etc/x.git",
        "/etc/x.git",
        "https://host/x\n.git",
        "https://host/x\0.git",
        "https:///x.git",
        "https://host:port/x.git",
        "https://[::1/x.git",
    ],
)
def test_what_could_be_an_option_or_a_local_path_is_no_git_url(text):
    assert parse_git_url(text) is None


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("https://h/x.git?tag=a&tag=b", "multiple values"),
        ("https://h/x.git?ref=", "no value"),
        ("https://h/x.git?submodules=maybe", "invalid submodules"),
        ("https://h/x.git?subdir=a#:b", "subdir conflicts"),
        ("https://h/x.git?commit=aa&checksum=bb", "conflicts"),
        ("https://h/x.git?fetch-by-commit", "needs a commit"),
    ],
)
def test_wrong_queries(text, cause):
    with pytest.raises(UsageError, match=cause):
        parse_git_url(text)


def test_flags_of_the_query():
    found = parse_git_url("https://h/x.git?keep-git-dir&submodules=0&mtime=commit&commit=abc1234")
    assert found is not None
    attrs = dict(source_op(found, keep_git_dir=bool(found.keep_git_dir)).attrs)
    assert attrs["git.keepgitdir"] == attrs["git.skipsubmodules"] == "true"
    assert attrs["git.mtime"] == "commit"
    assert attrs["git.checksum"] == found.ref == "abc1234"


def test_a_password_is_not_shown():
    remote = parse_remote("https://user:secret@host/x.git")
    assert remote is not None
    assert "secret" not in remote.shown + remote.bare
    with pytest.raises(UsageError) as raised:
        parse_git_url("https://user:secret@host/x.git?nonsense=1")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "clean"), [("../../a", "a"), ("a/../../b", "b"), ("/", ""), ("..", ""), ("./a//b/", "a/b")]
)
def test_subdir_stays_below_the_root(text, clean):
    assert clean_subdir(text) == clean
