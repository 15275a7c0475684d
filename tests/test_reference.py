"""Image names: docker's normal form, its limits, and texts that tell a person what to write instead."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.digest import Digest
from trimaran.errors import UsageError
from trimaran.reference import Reference

DIGEST = Digest.of(b"")
CASES = Path(os.environ.get("TRIMARAN_CASES") or Path(__file__).parents[2] / "shared" / "cases")


def rows(name):
    """The rows of one table, or none where the tables are not at hand."""
    file = CASES / "tables_ext.json"
    if not file.exists():
        return []
    tables = json.loads(file.read_text())["cases"]
    return [
        row for table in tables if table["id"].startswith(f"distribution+reference:.:{name}:") for row in table["rows"]
    ]


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3", "alpine:3"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("Host/app", "Host/app:latest", "Host/app:latest"),
        ("a--b__c.d/e", "docker.io/a--b__c.d/e:latest", "a--b__c.d/e:latest"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", f"alpine@{DIGEST}"),
        (f"x.io/a:1@{DIGEST}", f"x.io/a:1@{DIGEST}", f"x.io/a:1@{DIGEST}"),
    ],
)
def test_parse(text, full, familiar):
    if text.startswith("a--b__c.d/"):  # a dot makes it a host, and no host has an underscore
        with pytest.raises(UsageError):
            Reference.parse(text)
        return
    parsed = Reference.parse(text)
    assert str(parsed) == full
    assert parsed.familiar == familiar
    assert Reference.parse(full) == Reference.parse(familiar) == parsed


@pytest.mark.parametrize(
    ("text", "cause", "hint"),
    [
        ("", "empty", ""),
        ("App", "must be lowercase", "write app"),
        ("x.io/Me/App:V1", "must be lowercase", "write x.io/me/app:V1"),
        ("https://x.io/app", "no scheme", "write x.io/app"),
        ("app:", "tag after ':' is empty", ""),
        (":tag", "empty", ""),
        ("app:-x", "is not a tag", "letters"),
        ("app:" + "x" * 129, "128 characters", ""),
        ("x.io/" + "a" * 256, "255 characters", ""),
        ("app@sha256:123", "is not a digest", "64"),
        ("app@sha256:" + "A" * 64, "is not a digest", "64"),
        ("a" * 64, "image id", "@sha256:" + "a" * 64),
        ("x.io:http/app", "is not a port", ""),
        ("-x.io/app", "registry host", ""),
        ("x..io/app", "registry host", ""),
        ("[::1/app", "registry host", ""),
        ("[fe80::1%eth0]:5000/app", "registry host", ""),
        ("a//b", "part of the name is empty", ""),
        ("a/../b", "is not a repository name", ""),
        ("x.io/..", "is not a repository name", ""),
        ("a/b_", "is not a repository name", ""),
        ("a/b___c", "is not a repository name", ""),
        ("a/b._c", "is not a repository name", ""),
        ("a b", "is not a repository name", ""),
        ("a\n", "is not a repository name", ""),
        ("äpp", "is not a repository name", ""),
        ("app:täg", "is not a tag", ""),
    ],
)
def test_parse_says_what_is_wrong(text, cause, hint):
    with pytest.raises(UsageError) as caught:
        Reference.parse(text)
    assert cause in str(caught.value)
    assert hint in caught.value.hint


def test_limits_are_inclusive():
    assert Reference.parse("x.io/" + "a" * 255).repository == "a" * 255
    assert Reference.parse("app:" + "x" * 128).tag == "x" * 128


def test_bare_and_changed():
    bare = Reference.parse("x.io/app", default_tag="")
    assert (str(bare), bare.tag) == ("x.io/app", "")
    assert str(Reference.parse("x.io/app:v2").with_digest(DIGEST)) == f"x.io/app:v2@{DIGEST}"


@pytest.mark.parametrize("row", rows("TestParseDockerRef"), ids=lambda row: row["name"])
def test_docker_table(row):
    parsed = Reference.parse(row["input"])
    if parsed.digest:  # docker drops the tag there, we keep it as a label
        parsed = Reference(parsed.registry, parsed.repository, "", parsed.digest)
    assert str(parsed) == row["expected"]


@pytest.mark.parametrize("row", rows("TestParseRepositoryInfo"), ids=lambda row: row["FullName"])
def test_repository_table(row):
    for text in filter(None, (row["FamiliarName"], row["FullName"], row["AmbiguousName"])):
        parsed = Reference.parse(text)
        assert (parsed.registry, parsed.repository) == (row["Domain"], row["RemoteName"])
        assert (parsed.name, parsed.familiar_name) == (row["FullName"], row["FamiliarName"])


@pytest.mark.parametrize("row", rows("TestNormalizedSplitHostname"), ids=lambda row: row["input"])
def test_split_table(row):
    parsed = Reference.parse(row["input"])
    assert (parsed.registry, parsed.repository) == (row["domain"], row["path"])


@pytest.mark.parametrize("row", rows("TestParseAnyReference"), ids=lambda row: row["Reference"][:40])
def test_any_table(row):
    if row["Reference"].startswith("sha256:"):
        return  # an id to docker inspect, a name with a tag to everything that pulls
    if "Expected" in row:
        with pytest.raises(UsageError):
            Reference.parse(row["Reference"])
        return
    assert str(Reference.parse(row["Reference"], default_tag="")) == row["Equivalent"]


@pytest.mark.parametrize("row", rows("TestReferenceParse"), ids=lambda row: row["input"][:60])
def test_grammar_table(row):
    text = row["input"]
    if "err" in row:
        if "@sha512" in text or text == "Uppercase:tag":
            return  # we know sha512; and a bare upper-case word is covered above
        with pytest.raises(UsageError):
            Reference.parse(text)
        return
    parsed = Reference.parse(text, default_tag="")
    assert parsed.tag == row.get("tag", "")
    assert (parsed.digest or "") == row.get("digest", "")
    assert parsed.repository.endswith(row["repository"].split("/", 1)[-1])


PART = st.from_regex(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", fullmatch=True).filter(lambda text: len(text) < 40)
HOST = st.from_regex(r"[a-z0-9]{1,8}\.[a-z]{1,5}(:[0-9]{1,5})?", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}", fullmatch=True)


@given(HOST, st.lists(PART, min_size=1, max_size=4), TAG, st.booleans())
def test_str_round_trips(host, parts, tag, pinned):
    text = f"{host}/{'/'.join(parts)}:{tag}" + (f"@{DIGEST}" if pinned else "")
    parsed = Reference.parse(text)
    assert str(parsed) == text
    assert Reference.parse(parsed.familiar) == parsed


@given(st.text(max_size=60) | st.from_regex(r"[a-zA-Z0-9_./:@-]{0,40}", fullmatch=True))
def test_any_text_parses_or_is_a_usage_error(text):
    try:
        parsed = Reference.parse(text)
    except UsageError:
        return
    assert Reference.parse(str(parsed)) == Reference.parse(parsed.familiar) == parsed
    assert not {"", ".", ".."} & set(parsed.repository.split("/"))


@pytest.mark.parametrize(
    "text",
    [
        "me:hush@host/app",
        "hush@host:5000/app:1",
        "https://me:hush@host/app",
        "me:a@hush@host/app",
        "me:hush@host/a@b/c",
    ],
)
def test_passwords_in_names_are_refused_and_not_told(text):
    with pytest.raises(UsageError, match="a user or password has no place in it") as caught:
        Reference.parse(text)
    told = str(caught.value) + caught.value.hint
    assert "hush" not in told
    assert "me:" not in told


def test_digests_that_are_none_are_told_whole():
    with pytest.raises(UsageError, match="'app@sha256:../x': 'sha256:../x' is not a digest"):
        Reference.parse("app@sha256:../x")
