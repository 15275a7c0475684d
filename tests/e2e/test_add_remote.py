"""ADD of what is not in the context: files over HTTP and git repositories, from real servers, for both kinds of user."""

from __future__ import annotations

import io
import signal
import stat
import tarfile
import time
from hashlib import sha256

import pytest
from stage.git_server import GitServer, git
from stage.web_server import MODIFIED_SECONDS, WebServer


@pytest.fixture
def web():
    with WebServer().serving() as running:
        running.files["/file.txt"] = b"content\n"
        yield running


@pytest.fixture
def git_server(tmp_path):
    with GitServer(tmp_path / "repositories").serving() as running:
        yield running


@pytest.fixture
def app(git_server):
    copy = git_server.repository("app")
    copy.write("read/me", "read me\n")
    (copy / "run").write_text("#!/bin/sh\n")
    (copy / "run").chmod(0o755)
    copy.first = copy.commit()
    return copy


def archive():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("deep/inside")
        member.size = 7
        tar.addfile(member, io.BytesIO(b"inside\n"))
    return buffer.getvalue()


def shown(folder):
    """Path → (mode, content) of the files below a folder."""
    return {
        str(path.relative_to(folder)): (stat.filemode(path.lstat().st_mode), path.read_text())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git/" not in str(path)
    }


def build(program, context, tmp_path, *more, **options):
    """Build the context into a folder: what it holds, and what was said."""
    out = program.home / "out"
    done = program("build", "--progress", "plain", "-o", str(out), *more, context, **options)
    return out, done.stderr


def test_a_file(either, context, web, tmp_path):
    context.dockerfile(
        f"FROM scratch\nADD {web.url('/file.txt')} /named\nADD --chmod=755 --chown=1:2 {web.url('/file.txt')} /folder/\n"
    )
    out, said = build(either, context, tmp_path)
    assert shown(out) == {"named": ("-rw-------", "content\n"), "folder/file.txt": ("-rwxr-xr-x", "content\n")}
    assert (out / "named").stat().st_mtime == MODIFIED_SECONDS
    assert f"[1/2] ADD {web.url('/file.txt')} /named" in said
    assert web.statuses == [200], "two steps, one download"


def test_it_comes_again_only_when_it_changed(trimaran, context, web, tmp_path):
    context.dockerfile(f"FROM scratch\nADD {web.url('/file.txt')} /\n")
    build(trimaran, context, tmp_path)
    _, said = build(trimaran, context, tmp_path)
    assert web.statuses == [200, 304]
    assert said.count("CACHED") >= 2
    web.files["/file.txt"] = b"new\n"
    out, _ = build(trimaran, context, tmp_path)
    assert shown(out) == {"file.txt": ("-rw-------", "new\n")}


def test_checksum(trimaran, context, web, tmp_path):
    right, wrong = (f"sha256:{sha256(data).hexdigest()}" for data in (b"content\n", b"evil\n"))
    context.dockerfile(f"FROM scratch\nADD --checksum={right} {web.url('/file.txt')} /\n")
    build(trimaran, context, tmp_path)
    build(trimaran, context, tmp_path)
    assert web.statuses == [200], "what is pinned is not asked for again"
    context.dockerfile(f"FROM scratch\nADD --checksum={wrong} {web.url('/file.txt')} /\n")
    failed = trimaran("build", "--progress", "plain", context, exit_code=None)
    assert failed.returncode == 1
    assert f"digest mismatch {right}: {wrong}" in failed.stderr
    assert ">>> ADD" in failed.stderr


def test_archives_are_unpacked_when_asked_for(trimaran, context, web, tmp_path):
    web.files["/a.tar.gz"] = archive()
    context.dockerfile(
        f"FROM scratch\nADD {web.url('/a.tar.gz')} /whole/\nADD --unpack=true {web.url('/a.tar.gz')} /unpacked/\n"
    )
    out, _ = build(trimaran, context, tmp_path)
    assert (out / "whole/a.tar.gz").read_bytes() == web.files["/a.tar.gz"]
    assert (out / "unpacked/deep/inside").read_text() == "inside\n"


def test_a_repository(either, context, git_server, app, tmp_path):
    git(app.folder, "tag", "-a", "-m", "annotated", "v1")
    app.write("later", "later\n")
    app.commit()
    url = git_server.url("app")
    context.dockerfile(
        f"FROM scratch\nADD {url} /head/\nADD {url}#v1 /tag\nADD --checksum={app.first} {url}?tag=v1&subdir=read /sub\n"
        f"ADD --chown=3:4 {url}#{app.first} /\n"
    )
    out, said = build(either, context, tmp_path)
    tree = {"read/me": ("-rw-r--r--", "read me\n"), "run": ("-rwxr-xr-x", "#!/bin/sh\n")}
    expected = {f"{place}{path}": entry for place in ("head/", "tag/", "") for path, entry in tree.items()}
    assert shown(out) == expected | {
        "head/later": ("-rw-r--r--", "later\n"),
        "sub/me": ("-rw-r--r--", "read me\n"),
    }
    assert f"ADD {url}#v1 /tag" in said
    assert not (out / "head/.git").exists()


def test_a_repository_with_its_git_folder(trimaran, context, git_server, app, tmp_path):
    context.dockerfile(f"FROM scratch\nADD --keep-git-dir=true {git_server.url('app')} /app\n")
    out, _ = build(trimaran, context, tmp_path)
    made = out / "app"
    assert git(made, "-c", "safe.directory=*", "rev-parse", "HEAD") == app.first
    assert git(made, "-c", "safe.directory=*", "status", "--porcelain") == ""
    assert git(made, "-c", "safe.directory=*", "branch", "--show-current") == "main"
    assert git(made, "-c", "safe.directory=*", "remote", "get-url", "origin") == git_server.url("app")
    assert not list((made / ".git").glob("hooks/*"))


def test_a_repository_costs_nothing_the_second_time(trimaran, context, git_server, app, tmp_path):
    context.dockerfile(f"FROM scratch\nADD {git_server.url('app')} /\n")
    build(trimaran, context, tmp_path)
    _, said = build(trimaran, context, tmp_path)
    assert said.count("CACHED") >= 2
    assert "fetch http" not in said


def test_all_that_add_fetches_without_root(rootless, context, web, git_server, app, tmp_path):
    """Each flag and each way to name a commit in one build; then what is asked for when it is built again."""
    inner = git_server.repository("inner")
    inner.write("part", "part\n")
    inner.commit()
    git(app.folder, "submodule", "--quiet", "add", str(inner.folder), "mod")
    git(app.folder, "config", "--file", ".gitmodules", "submodule.mod.url", "../inner.git")
    second = app.commit()
    git(app.folder, "tag", "-a", "-m", "annotated", "v2")
    web.files["/a.tar.gz"] = archive()
    digest = sha256(b"content\n").hexdigest()
    page, url = web.url("/file.txt"), git_server.url("app")
    context.dockerfile(
        f"FROM scratch\nADD --checksum=sha256:{digest} {page} /pinned/\nADD --chmod=u=rw,go=r {page} /page/\n"
        f"ADD --unpack=true --chown=5:6 {web.url('/a.tar.gz')} /unpacked/\nADD {web.url('/a.tar.gz')} /packed/\n"
        f"ADD {url}#main /branch/\nADD {url}?tag=v2&submodules=false /tag/\nADD {url}#{app.first}:read /commit/\n"
        f"ADD --keep-git-dir=true {url}#v2 /kept/\nADD --checksum={second} --link {url}?branch=main&subdir=read /sub/\n"
    )
    out, _ = build(rootless, context, tmp_path)
    web.asked.clear()
    git_server.requests.clear()
    _, said = build(rootless, context, tmp_path)
    assert sorted(web.statuses) == [304, 304], "one page, one archive; what is pinned is not asked for"
    assert not [request for request in git_server.requests if request.startswith("POST") and "fetch" in request]
    assert said.count("CACHED") >= 9
    tree = {"read/me": "read me\n", "run": "#!/bin/sh\n", "mod/part": "part\n"}
    expected = {f"{place}/{path}": text for place in ("branch", "kept") for path, text in tree.items()}
    expected |= {f"tag/{path}": text for path, text in tree.items() if not path.startswith("mod")}
    expected |= {"commit/me": "read me\n", "sub/me": "read me\n", "unpacked/deep/inside": "inside\n"}
    expected |= {"pinned/file.txt": "content\n", "page/file.txt": "content\n"}
    found = {str(p.relative_to(out)): p for p in out.rglob("*") if p.is_file() and "/.git" not in str(p)}
    assert found.pop("packed/a.tar.gz").read_bytes() == web.files["/a.tar.gz"]
    assert {path: file.read_text() for path, file in found.items()} == expected
    assert stat.S_IMODE((out / "page/file.txt").stat().st_mode) == 0o644
    assert git(out / "kept", "-c", "safe.directory=*", "rev-parse", "HEAD") == second


def test_a_private_repository(trimaran, context, git_server, app, tmp_path):
    """The token comes as a secret: it is in no layer, history, log or error."""
    git_server.password = "t0ken-of-mine"
    context.dockerfile(f"FROM scratch\nADD {git_server.url('app')} /\n")
    failed = trimaran("build", "--progress", "plain", context, exit_code=None)
    assert failed.returncode == 1
    assert "private repository" in failed.stderr
    token = {"GIT_AUTH_TOKEN": "t0ken-of-mine"}
    out, said = build(trimaran, context, tmp_path, "--secret", "id=GIT_AUTH_TOKEN", env=token)
    assert "read/me" in shown(out)
    assert "t0ken" not in said
    assert git_server.credentials[-1] == "x-access-token:t0ken-of-mine"
    for path in trimaran.home.rglob("*"):
        if path.is_file():
            assert b"t0ken-of-mine" not in path.read_bytes(), path


def test_a_hostile_reference(trimaran, context, git_server, app, tmp_path):
    """T20: it is refused, and nothing ran."""
    evil = tmp_path / "evil"
    context.dockerfile(f"FROM scratch\nADD {git_server.url('app')}#--upload-pack=touch${{IFS}}{evil} /\n")
    failed = trimaran("build", "--progress", "plain", context, exit_code=None)
    assert failed.returncode == 1
    assert "no reference can be named so" in failed.stderr
    assert not evil.exists()


def test_what_is_not_there(trimaran, context, web, git_server, tmp_path):
    context.dockerfile(f"FROM scratch\nADD {web.url('/none')} /\n")
    assert "404" in trimaran("build", "--progress", "plain", context, exit_code=1).stderr
    context.dockerfile(f"FROM scratch\nADD {git_server.url('none')} /\n")
    assert "not found" in trimaran("build", "--progress", "plain", context, exit_code=1).stderr


def test_tls_by_the_system_trust_store(trimaran, context, authority, tmp_path):
    """What the machine does not trust is refused, by both; SSL_CERT_FILE is the machine's trust store."""
    with WebServer(authority).serving() as web, GitServer(tmp_path / "tls", authority).serving() as server:
        web.files["/file.txt"] = b"by tls\n"
        copy = server.repository("app")
        copy.write("read/me", "by tls\n")
        copy.commit()
        for source in (web.url("/file.txt"), server.url("app")):
            context.dockerfile(f"FROM scratch\nADD {source} /\n")
            failed = trimaran("build", "--progress", "plain", context, exit_code=1)
            assert "certificate" in failed.stderr
            out, _ = build(trimaran, context, tmp_path, env={"SSL_CERT_FILE": str(authority.ca)})
            assert "by tls\n" in [content for _, content in shown(out).values()]


def test_a_proxy_of_the_environment(trimaran, context, web, git_server, app, tmp_path):
    """Names that only the proxy knows. Here the servers are their own proxies: they are asked for whole URLs."""
    web.files["http://files.test/file.txt"] = b"by proxy\n"
    context.dockerfile("FROM scratch\nADD http://files.test/file.txt /\n")
    out, _ = build(trimaran, context, tmp_path, env={"HTTP_PROXY": web.url("")})
    assert shown(out)["file.txt"][1] == "by proxy\n"


@pytest.mark.parametrize("kind", ["web", "git"])
def test_ctrl_c_ends_a_fetch_at_once(either, context, web, git_server, app, kind, tmp_path):
    """Nothing is left: no git, no half of a file; the next build does it all."""
    server, url = (web, web.url("/file.txt")) if kind == "web" else (git_server, git_server.url("app"))
    context.dockerfile(f"FROM scratch\nADD {url} /\n")
    server.hangs.clear()
    process = either.start("build", "--progress", "plain", context)
    try:
        deadline = time.monotonic() + 30
        while not (web.asked if kind == "web" else git_server.requests) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 130
    finally:
        server.hangs.set()
    out, _ = build(either, context, tmp_path)
    assert shown(out)


def test_builds_side_by_side_share_a_repository(trimaran, context, git_server, app, tmp_path):
    context.dockerfile(f"FROM scratch\nADD {git_server.url('app')} /\n")
    processes = [
        trimaran.start("build", "--progress", "plain", "-o", trimaran.home / f"side-{n}", context) for n in range(3)
    ]
    for number, process in enumerate(processes):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert (trimaran.home / f"side-{number}/read/me").read_text() == "read me\n"
