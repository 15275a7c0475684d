"""HTTP sources against a real server: what comes, when it comes again, and what a server cannot do (T28, T39)."""

from __future__ import annotations

import asyncio
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from stage.web_server import MODIFIED_SECONDS, WebServer

from trimaran.errors import Corrupt, NotFound, TrimaranError, UsageError
from trimaran.graph.ops import SourceOp
from trimaran.registry.http import Client
from trimaran.registry.urls import Url
from trimaran.sources.download import download_small, file_name, safe_name
from trimaran.sources.http import HttpSource

TABLES = Path(os.environ.get("TRIMARAN_CASES") or Path(__file__).parents[3] / "shared" / "cases") / "tables.json"


@pytest.fixture
def web():
    with WebServer().serving() as running:
        running.files["/file.txt"] = b"content\n"
        yield running


@pytest.fixture
def fetch(store, progress):
    """Fetch a URL: (served, the one entry, its bytes)."""

    def go(url, *, limit=1 << 20, environment=None, **attrs):
        return asyncio.run(_fetch(url, limit, environment or {}, attrs))

    async def _fetch(url, limit, environment, attrs):
        op = SourceOp(url, tuple(sorted((f"http.{name}", value) for name, value in attrs.items())))
        async with Client(environment) as client:
            found = await HttpSource(store, client, limit=limit).fetch(op, None, progress)
        tree = await store.roots.tree(found.result)
        (entry,) = (entry for entry in tree.walk("") if entry.path)
        return found.served, entry, await store.roots.read_file(found.result, entry.path)

    return go


def test_a_file(web, fetch):
    served, entry, data = fetch(web.url("/file.txt"))
    assert (served, data) == (False, b"content\n")
    assert (entry.path, entry.mode, entry.uid, entry.gid) == ("file.txt", 0o600, 0, 0)
    assert entry.mtime == MODIFIED_SECONDS * 10**9
    assert "Authorization" not in web.asked[0].headers


def test_attributes(web, fetch):
    _, entry, _ = fetch(web.url("/file.txt"), filename="other", perm="0755", uid="7", gid="8")
    assert (entry.path, entry.mode, entry.uid, entry.gid) == ("other", 0o755, 7, 8)


@pytest.mark.parametrize("headers", [{}, {"ETag": ""}])
def test_it_is_fetched_again_only_when_it_changed(web, fetch, headers):
    web.headers["/file.txt"] = headers
    fetch(web.url("/file.txt"))
    assert fetch(web.url("/file.txt"))[0] is True
    assert web.statuses == [200, 304]
    web.files["/file.txt"] = b"new\n"
    web.headers["/file.txt"] = headers | {"Last-Modified": "Thu, 22 Oct 2015 07:28:00 GMT"}
    served, _, data = fetch(web.url("/file.txt"))
    assert (served, data) == (False, b"new\n")
    assert fetch(web.url("/file.txt"))[0] is True


def test_a_server_that_knows_no_conditions(web, fetch):
    fetch(web.url("/file.txt"))
    web.ignores_conditions = True
    assert fetch(web.url("/file.txt"))[0] is True
    web.headers["/file.txt"] = {"ETag": 'W/"weak"'}
    fetch(web.url("/file.txt"))
    assert fetch(web.url("/file.txt"))[0] is False, "a weak ETag does not say that bytes are equal"


def test_what_is_remembered_but_gone_is_fetched_whole(web, fetch, store):
    fetch(web.url("/file.txt"))
    for row in store.database.query("SELECT id FROM layers"):
        store.database.execute("DELETE FROM layers WHERE id=?", row).result()
    store.close()
    from trimaran.store.store import open_store

    with open_store(store.root) as again:
        op = SourceOp(web.url("/file.txt"))

        async def once():
            from trimaran.digest import Digest
            from trimaran.events import Progress, discard

            async with Client({}) as client:
                return await HttpSource(again, client).fetch(op, None, Progress(discard, Digest.of(b"")))

        assert not asyncio.run(once()).served
    assert web.statuses == [200, 200]


def test_304_without_a_condition(web, fetch):
    web.always_unmodified = True
    with pytest.raises(Corrupt, match="304"):
        fetch(web.url("/file.txt"))


def test_checksum(web, fetch):
    """T39: of the bytes that are used; another build's bytes under the same ETag do not get by."""
    right = "sha256:" + sha256(b"content\n").hexdigest()
    wrong = "sha256:" + sha256(b"evil\n").hexdigest()
    assert fetch(web.url("/file.txt"), checksum=right)[2] == b"content\n"
    assert fetch(web.url("/file.txt"), checksum=right)[0] is True
    assert web.statuses == [200], "what is pinned and here is not asked for again"
    with pytest.raises(Corrupt, match=f"digest mismatch {right}: {wrong}"):
        fetch(web.url("/file.txt"), checksum=wrong)
    with pytest.raises(Corrupt, match="digest mismatch"):
        fetch(web.url("/file.txt"), checksum=wrong)
    import hashlib

    longer = "sha512:" + hashlib.sha512(b"content\n").hexdigest()
    assert fetch(web.url("/file.txt"), checksum=longer)[0] is False
    assert fetch(web.url("/file.txt"), checksum=longer)[0] is True


def test_etag_poisoning(web, fetch):
    """T39: an ETag that a changed file keeps is no way past a checksum."""
    web.headers["/file.txt"] = {"ETag": '"same"'}
    fetch(web.url("/file.txt"))
    web.files["/file.txt"] = b"evil\n"
    right = "sha256:" + sha256(b"other\n").hexdigest()
    with pytest.raises(Corrupt, match="digest mismatch"):
        fetch(web.url("/file.txt"), checksum=right)


def test_redirects_carry_no_credentials(web, fetch):
    """T27: user and password are for the host they were written for."""
    with WebServer().serving() as other:
        other.files["/there"] = b"moved\n"
        web.redirects["/here"] = "/near"
        web.redirects["/near"] = other.url("/there")
        _, entry, data = fetch(web.url("/here", user="me:secret"))
        assert (entry.path, data) == ("here", b"moved\n")
        assert ["Authorization" in asked.headers for asked in web.asked] == [True, True]
        assert "Authorization" not in other.asked[0].headers


def test_redirects_are_counted(web, fetch):
    web.redirects["/round"] = "/round"
    with pytest.raises(UsageError, match="more than 10 redirects"):
        fetch(web.url("/round"))
    assert len(web.asked) == 11


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://127.0.0.1/x", "//[", "http://user:pw@127.0.0.1/x"])
def test_redirects_stay_with_http(web, fetch, place):
    web.redirects["/away"] = place
    with pytest.raises(TrimaranError, match="read URL"):
        fetch(web.url("/away"))


def test_limit(web, fetch):
    web.files["/big"] = b"x" * 1001
    with pytest.raises(Corrupt, match="1000 allowed"):
        fetch(web.url("/big"), limit=1000)
    assert fetch(web.url("/big"), limit=1001)[2] == b"x" * 1001


def test_what_breaks_off_is_tried_again(web, fetch):
    web.fails, web.breaks_off = 1, 1
    assert fetch(web.url("/file.txt"))[2] == b"content\n"
    assert web.statuses == [503, 200, 200]


def test_not_there(web, fetch):
    with pytest.raises(NotFound, match="404"):
        fetch(web.url("/none"))


def test_a_proxy_of_the_environment(web, fetch):
    """The proxy is the web server itself: it is asked for the whole URL."""
    web.files["http://files.test/file.txt"] = b"by proxy\n"
    _, _, data = fetch("http://files.test/file.txt", environment={"HTTP_PROXY": web.url("")})
    assert data == b"by proxy\n"


def rows():
    if not TABLES.exists():
        return []
    return [
        row
        for table in json.loads(TABLES.read_text())["cases"]
        if table["test"] == "TestSafeFileName"
        for row in table["rows"]
    ]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["name"])
def test_table_of_safe_names(row):
    assert safe_name(row["in"]) == row["want"]


@pytest.mark.parametrize(
    ("wanted", "disposition", "path", "name"),
    [
        ("", 'attachment; filename="a.tar"', "/x", "a.tar"),
        ("", 'attachment; filename="../../etc/cron.d/x"', "/x", "x"),
        ("", 'attachment; filename="/etc/passwd"', "/x", "passwd"),
        ("", 'attachment; filename=".."', "/x.txt", "x.txt"),
        ("", "attachment; filename*=UTF-8''%2e%2e%2fa", "/x", "a"),
        ("", "nonsense", "/deep/x%20y?z=/q", "x y"),
        ("", "", "/..%2f..%2fx", "x"),
        ("", "", "/", "download"),
        ("", "", "/" + "n" * 300, "download"),
        ("mine", 'attachment; filename="theirs"', "/x", "mine"),
        ("../up", "", "/x", "up"),
    ],
)
def test_names(wanted, disposition, path, name):
    """T28: a name is one part of a path, whoever gave it."""
    assert file_name(wanted, disposition, Url("http", "h", 80, path)) == name


@pytest.mark.parametrize(
    "attrs", [{"perm": "x"}, {"perm": "0o20000"}, {"uid": "-1"}, {"gid": "4294967295"}, {"x": "y"}]
)
def test_wrong_attributes(web, fetch, attrs):
    with pytest.raises(UsageError):
        fetch(web.url("/file.txt"), **attrs)


def test_a_small_file(web):
    async def once(limit):
        async with Client({}) as client:
            return await download_small(client, web.url("/file.txt"), limit)

    assert asyncio.run(once(8)) == b"content\n"
    with pytest.raises(Corrupt):
        asyncio.run(once(7))
