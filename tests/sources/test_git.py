"""Git sources against a real server: what comes, what is remembered, and what a hostile one cannot do (T20 to T27)."""

from __future__ import annotations

import asyncio
import os

import pytest
from stage.git_server import GitServer, git

from trimaran.errors import Corrupt, NotFound, TrimaranError, UsageError
from trimaran.graph.ops import SourceOp
from trimaran.sources.git import GitSource
from trimaran.sources.git_command import GitFailed
from trimaran.sources.git_url import parse_git_url, source_op


@pytest.fixture
def fetch(store, progress):
    """Fetch a URL: (served, {path: what is there})."""

    def go(text, **attrs):
        return asyncio.run(_fetch(text, attrs))

    async def _fetch(text, attrs):
        op = text
        if isinstance(text, str):
            url = parse_git_url(text)
            assert url is not None, text
            op = source_op(
                url, keep_git_dir=bool(attrs.get("keep") or url.keep_git_dir), checksum=attrs.get("checksum", "")
            )
        found = await GitSource(store).fetch(op, None, progress)
        tree = await store.roots.tree(found.result)
        shown = {}
        for entry in tree.walk(""):
            if entry.kind == "file":
                text = await store.roots.read_file(found.result, entry.path, 1 << 20)
                shown[entry.path] = (f"{entry.mode:o}", text.decode(errors="replace"))
            elif entry.path:
                shown[entry.path] = (entry.kind, entry.target)
        return found.served, shown

    return go


@pytest.fixture
def app(git_server):
    copy = git_server.repository("app")
    copy.write("Dockerfile", "FROM scratch\n")
    copy.write("deep/er/file", "deep\n")
    (copy / "run").write_text("#!/bin/sh\n")
    (copy / "run").chmod(0o755)
    (copy / "link").symlink_to("deep/er")
    copy.first = copy.commit()
    return copy


TREE = {
    "Dockerfile": ("644", "FROM scratch\n"),
    "deep": ("dir", ""),
    "deep/er": ("dir", ""),
    "deep/er/file": ("644", "deep\n"),
    "link": ("symlink", "deep/er"),
    "run": ("755", "#!/bin/sh\n"),
}


@pytest.mark.parametrize("dumb", [False, True])
def test_default_branch(git_server, app, fetch, dumb):
    git_server.is_dumb = dumb
    assert fetch(git_server.url("app")) == (False, TREE)


def test_the_second_time_costs_one_question(git_server, app, fetch):
    fetch(git_server.url("app"))
    git_server.requests.clear()
    assert fetch(git_server.url("app")) == (True, TREE)
    assert not any("git-upload-pack" in request and "POST" in request for request in git_server.requests[2:])
    app.write("new", "new\n")
    app.commit()
    served, shown = fetch(git_server.url("app"))
    assert not served
    assert shown["new"] == ("644", "new\n")


def test_a_commit_that_is_here_costs_no_question(git_server, app, fetch):
    fetch(git_server.url("app") + "#" + app.first)
    git_server.requests.clear()
    assert fetch(git_server.url("app") + "#" + app.first) == (True, TREE)
    assert not git_server.requests


@pytest.mark.parametrize("dumb", [False, True])
def test_branch_tag_and_commit(git_server, app, fetch, dumb):
    git_server.is_dumb = dumb
    git(app.folder, "tag", "-a", "-m", "annotated", "v1")
    git(app.folder, "tag", "light")
    git(app.folder, "switch", "--quiet", "-c", "feature/x")
    app.write("x", "x\n")
    feature = app.commit()
    git(app.folder, "switch", "--quiet", "main")
    app.write("later", "later\n")
    app.commit()
    url = git_server.url("app")
    for same in ("#v1", "#light", "#refs/tags/v1", "#tags/v1", "?tag=v1", f"#{app.first}"):
        assert fetch(url + same)[1] == TREE, same
    for same in ("#feature/x", "?branch=feature/x", f"#{feature}", "#heads/feature/x"):
        assert fetch(url + same)[1] == TREE | {"x": ("644", "x\n")}, same


def test_branches_go_before_tags(git_server, app, fetch):
    git(app.folder, "tag", "same")
    git(app.folder, "switch", "--quiet", "-c", "same")
    app.write("of-branch", "")
    app.commit()
    assert "of-branch" in fetch(git_server.url("app") + "#same")[1]


def test_a_reference_that_is_not_there(git_server, app, fetch):
    with pytest.raises(NotFound, match="no reference 'nonsense'"):
        fetch(git_server.url("app") + "#nonsense")
    with pytest.raises(NotFound, match="no commit"):
        fetch(git_server.url("app") + "#" + "ab" * 20)


def test_no_repository_there(git_server, fetch):
    with pytest.raises(GitFailed, match=r"read http://127.0.0.1:\d+/none.git.*not found"):
        fetch(git_server.url("none"))


def test_subdirectory(git_server, app, fetch):
    assert fetch(git_server.url("app") + "#main:deep/er")[1] == {"file": ("644", "deep\n")}
    assert fetch(git_server.url("app") + "?subdir=/deep")[1] == {"er": ("dir", ""), "er/file": ("644", "deep\n")}


@pytest.mark.parametrize(
    ("subdir", "cause"), [("link", "symbolic link"), ("link/er", "symbolic link"), ("run", "file")]
)
def test_subdirectory_that_is_no_real_folder(git_server, app, fetch, subdir, cause):
    """T22, T23: nothing but folders of the tree lead to a subdirectory."""
    with pytest.raises(UsageError, match=cause):
        fetch(git_server.url("app") + "#main:" + subdir)


def test_subdirectory_never_leaves_the_repository(git_server, app, fetch):
    assert fetch(git_server.url("app") + "#main:../../deep/er")[1] == {"file": ("644", "deep\n")}


def test_checksum(git_server, app, fetch):
    git(app.folder, "tag", "-a", "-m", "annotated", "v1")
    tag = git(app.folder, "rev-parse", "refs/tags/v1")
    url = git_server.url("app")
    for right in (app.first, app.first[:7], tag, tag[:10]):
        assert fetch(url + "#v1", checksum=right)[1] == TREE
    assert fetch(f"{url}?commit={app.first}&tag=v1")[1] == TREE
    git_server.requests.clear()
    with pytest.raises(Corrupt, match="expected checksum to match"):
        fetch(url + "#v1", checksum="0" * 40)
    assert not [request for request in git_server.requests[2:] if "fetch" in request]
    with pytest.raises(UsageError, match="no commit"):
        fetch(url, checksum="--help")


def test_fetch_by_commit_asks_for_no_reference(git_server, app, fetch):
    app.write("later", "")
    app.commit()
    url = f"{git_server.url('app')}?fetch-by-commit&commit={app.first}#refs/heads/gone"
    assert fetch(url)[1] == TREE


def test_time_of_the_commit(git_server, app, store, progress):
    url = parse_git_url(git_server.url("app") + "?mtime=commit")
    found = asyncio.run(GitSource(store).fetch(source_op(url), None, progress))
    tree = asyncio.run(store.roots.tree(found.result))
    assert {entry.mtime for entry in tree.walk("") if entry.path} == {1_700_000_000 * 10**9}


def test_git_folder_is_kept_when_asked_for(git_server, app, fetch, tmp_path):
    _, shown = fetch(git_server.url("app", user="me:secret"), keep=True)
    assert {path for path in shown if not path.startswith(".git")} == set(TREE)
    config = shown[".git/config"][1]
    assert git_server.url("app") in config
    assert "secret" not in "".join(text for _, text in shown.values())
    assert "file" not in [path for path in shown if "hooks" in path]
    made = tmp_path / "made"
    for path, (kind, text) in sorted(shown.items()):
        target = made / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == "dir":
            target.mkdir(exist_ok=True)
        elif kind == "symlink":
            target.symlink_to(text)
        elif not path.startswith(".git/objects") and path != ".git/index":
            target.write_text(text)
            target.chmod(int(kind, 8))
    assert (made / ".git/HEAD").read_text() == "ref: refs/heads/main\n"


def test_submodules(git_server, app, fetch):
    inner = git_server.repository("inner")
    inner.write("inner", "inner\n")
    inner.commit()
    middle = git_server.repository("middle")
    middle.write("middle", "middle\n")
    git(middle.folder, "submodule", "--quiet", "add", str(inner.folder), "in")
    git(middle.folder, "config", "--file", ".gitmodules", "submodule.in.url", "../inner.git")
    middle.commit()
    git(app.folder, "submodule", "--quiet", "add", str(middle.folder), "sub/mid")
    git(app.folder, "config", "--file", ".gitmodules", "submodule.sub/mid.url", git_server.url("middle"))
    app.commit()
    shown = fetch(git_server.url("app"))[1]
    assert shown["sub/mid/middle"] == ("644", "middle\n")
    assert shown["sub/mid/in/inner"] == ("644", "inner\n")
    shown = fetch(git_server.url("app") + "?submodules=false")[1]
    assert shown["sub/mid"] == ("dir", "")
    assert "sub/mid/middle" not in shown


def with_submodule(app, url, path="sub"):
    commit = app.first
    modules = app.blob(f'[submodule "x"]\n\tpath = {path}\n\turl = {url}\n')
    return app.commit_tree(f"100644 blob {modules}\t.gitmodules\n160000 commit {commit}\t{path}\n")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "/etc",
        "ext::sh -c touch% /tmp/evil",
        "--upload-pack=touch /tmp/evil",
        "-u./payload",
        "../../../../etc",
        "ssh://-oProxyCommand=touch/x",
    ],
)
def test_hostile_submodule_urls(git_server, app, fetch, url):
    """T25, T27: only URLs of known schemes, none above the host, nothing local."""
    with_submodule(app, f'"{url}"')
    with pytest.raises(UsageError, match="read submodule"):
        fetch(git_server.url("app"))


def test_credentials_stay_with_their_host(git_server, app, fetch, tmp_path):
    """T27: neither a submodule elsewhere nor a redirection elsewhere is given them."""
    with GitServer(tmp_path / "other").serving() as other:
        target = other.repository("sub")
        target.write("file", "")
        target.commit()
        other.password = "other"  # it asks for credentials
        git_server.password = "secret"
        with_submodule(app, other.url("sub"))
        with pytest.raises(GitFailed) as raised:
            fetch(git_server.url("app", user="me:secret"))
        assert git_server.credentials
        assert not other.credentials
        assert "secret" not in str(raised.value)
        git_server.password, git_server.redirect = "", f"http://127.0.0.1:{other.port}"
        with pytest.raises(GitFailed):
            fetch(git_server.url("sub", user="me:secret"))
        assert not other.credentials


def test_a_private_repository(git_server, app, fetch):
    git_server.password = "secret"
    with pytest.raises(GitFailed) as raised:
        fetch(git_server.url("app"))
    assert "credentials" in raised.value.hint
    assert fetch(git_server.url("app", user="me:secret"))[1] == TREE


@pytest.mark.parametrize("name", [".git", ".GIT", "..", ".", "git~1", ".git ", ".git::$INDEX_ALLOCATION"])
def test_hostile_names_in_trees(git_server, app, fetch, name):
    """T25: names that would be a repository's own folder, or none, are refused."""
    blob = app.blob("evil\n")
    app.commit_tree(f"100644 blob {blob}\t{name}\n")
    with pytest.raises(Corrupt, match="its tree"):
        fetch(git_server.url("app"))


def test_a_name_that_is_link_and_folder(git_server, app, fetch):
    """T25, CVE-2021-21300: a link and a folder of one name."""
    link, evil = app.blob("/tmp"), app.blob("evil")
    inner = git(app.folder, "mktree", stdin=f"100644 blob {evil}\tevil\n".encode())
    app.commit_tree(f"120000 blob {link}\tx\n040000 tree {inner}\tx\n")
    with pytest.raises(Corrupt, match="twice"):
        fetch(git_server.url("app"))


def test_names_that_only_look_hostile(git_server, app, fetch):
    for name in ("--upload-pack=x", "-", ".gitattributes", ".github/x", "..a", "a..", "git", "x y", "ünï"):
        app.write(name, name)
    app.commit()
    assert set(fetch(git_server.url("app"))[1]) >= {"--upload-pack=x", "-", ".gitattributes", ".github/x", "..a", "ünï"}


def test_attributes_filters_and_hooks_do_nothing(git_server, app, fetch, tmp_path):
    """T25: nothing is checked out, so nothing of the repository runs or changes a byte."""
    app.write(".gitattributes", "* filter=lfs text eol=crlf ident\n")
    app.write("pointer", "version https://git-lfs.github.com/spec/v1\n$Id$\n")
    app.commit()
    assert fetch(git_server.url("app"))[1]["pointer"] == ("644", "version https://git-lfs.github.com/spec/v1\n$Id$\n")


@pytest.mark.parametrize("ref", ["--upload-pack=touch /tmp/evil", "-x", "a..b", "a b", "x.lock", "a:b^{}", "a*", "/a"])
def test_references_that_could_be_something_else(git_server, app, fetch, ref):
    """T20: refused before git is started."""
    op = SourceOp(f"git://h/app.git#{ref.partition(':')[0]}", (("git.fullurl", git_server.url("app")),))
    if ref == "a:b^{}":
        op = SourceOp("git://h/app.git#a^{}", (("git.fullurl", git_server.url("app")),))
    with pytest.raises(UsageError, match="no reference can be named so"):
        fetch(op)
    assert not git_server.requests


def test_a_server_whose_head_is_an_option(git_server, app, fetch):
    """T21: the server's own names are checked as ours are."""
    (app / ".git/refs/heads/--upload-pack=x").write_text(app.first + "\n")
    (app / ".git/HEAD").write_text("ref: refs/heads/--upload-pack=x\n")
    with pytest.raises(TrimaranError, match="names a ref|no default branch|no reference"):
        fetch(git_server.url("app"))


@pytest.mark.parametrize("url", ["file:///etc", "ext::sh", "/etc", "-x"])
def test_no_other_protocols(fetch, url):
    with pytest.raises(UsageError, match="no URL of a git repository"):
        fetch(SourceOp("git://h/x", (("git.fullurl", url),)))


def test_configuration_of_the_person_has_no_part(git_server, app, fetch, tmp_path, monkeypatch):
    evil = tmp_path / "touched"
    (tmp_path / ".gitconfig").write_text(
        f'[url "ext::touch {evil}"]\n\tinsteadOf = http\n[core]\n\tfsmonitor = touch {evil}\n'
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.sshcommand=false'")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert fetch(git_server.url("app"))[1] == TREE
    assert not evil.exists()


def test_a_link_in_the_tree_leads_nowhere_here(git_server, app, fetch):
    secret = "/etc/hostname"
    (app / "hostname").symlink_to(secret)
    (app / "up").symlink_to("../../../../../..")
    app.commit()
    shown = fetch(git_server.url("app"))[1]
    assert shown["hostname"] == ("symlink", secret)
    assert shown["up"] == ("symlink", "../../../../../..")
    assert os.path.exists(secret)


def kept(store):
    (folder,) = (os.path.join(store.root, "git", name) for name in os.listdir(os.path.join(store.root, "git")))
    return folder


def test_what_a_killed_git_left_is_no_hindrance(git_server, app, fetch, store):
    fetch(git_server.url("app"))
    folder = kept(store)
    for name in ("shallow.lock", "packed-refs.lock", "config.lock", f"refs/trimaran/{app.first}.lock"):
        with open(os.path.join(folder, name), "w"):
            pass
    os.unlink(os.path.join(folder, "config"))
    app.write("later", "")
    app.commit()
    assert "later" in fetch(git_server.url("app"))[1]


def test_a_kept_repository_that_is_damaged_is_fetched_anew(git_server, app, fetch, store):
    fetch(git_server.url("app"))
    objects = os.path.join(kept(store), "objects")
    damaged = 0
    for above, _, names in os.walk(objects):
        for name in names:
            path = os.path.join(above, name)
            os.chmod(path, 0o600)
            with open(path, "r+b") as file:
                file.seek(os.path.getsize(path) // 2)
                file.write(b"\0" * 64)
            damaged += 1
    assert damaged
    assert fetch(git_server.url("app") + "#main:deep")[1]["er/file"] == ("644", "deep\n")
