"""Locked, offline and unanswered: names that may change, from real servers that change, go away or say no."""

from __future__ import annotations

import json
import tarfile
from typing import NamedTuple

import pytest
from stage.contexts import Context
from stage.faulty import fill
from stage.git_server import GitServer, WorkingCopy
from stage.program import Trimaran
from stage.web_server import WebServer

from trimaran.testing.registry import STATUS, FaultyRegistry


class Servers(NamedTuple):
    """One image, one file and one repository that a build reads, and where they are asked for."""

    registry: FaultyRegistry
    web: WebServer
    git: GitServer
    copy: WorkingCopy

    def asked(self) -> int:
        return len(self.registry.requests) + len(self.web.asked) + len(self.git.requests)

    def move(self) -> None:
        """Everything is something else from now on; the tag, one platform's manifest alone."""
        index = json.loads(self.registry.manifests["alpine", "latest"][1])
        child = next(each for each in index["manifests"] if each["platform"]["architecture"] == "amd64")
        self.registry.manifests["alpine", "latest"] = self.registry.manifests["alpine", child["digest"]]
        self.web.files["/file"] = b"another\n"
        self.copy.write("made", "another\n")
        self.copy.commit()


@pytest.fixture
def servers(faulty, tmp_path, context):
    with WebServer().serving() as web, GitServer(tmp_path / "repositories").serving() as git:
        web.files["/file"] = b"first\n"
        copy = git.repository("app")
        copy.write("made", "first\n")
        copy.commit()
        context.dockerfile(f"FROM {faulty.host}/alpine\nADD {web.url('/file')} /file\nADD {git.url('app')}#main /app\n")
        yield Servers(faulty, web, git, copy)


def build(program: Trimaran, context: Context, *words: str, exit_code: int = 0, root: str = ""):
    """Into a folder: the two files that were fetched, and what was said."""
    env = {"TRIMARAN_ROOT": str(program.home / root)} if root else {}
    out = program.home / f"out{len(list(program.home.glob('out*')))}"
    asked = ("build", "--progress", "plain", "-o", str(out), *words, context)
    done = program(*asked, exit_code=exit_code, env=env)
    if exit_code:
        return done.stderr
    assert "Traceback" not in done.stderr
    return (out / "file").read_text(), (out / "app/made").read_text(), done.stderr


def base_of(said: str) -> str:
    return next(word for word in said.split() if "@sha256:" in word).rpartition("@")[2]


def test_a_lock_holds_what_moves(either, context, servers):
    lock = either.home / "my.lock"
    first = build(either, context, "--lock", str(lock))
    written = json.loads(lock.read_text())
    assert written["version"] == 1
    assert written["image"] == {f"{servers.registry.host}/alpine:latest": base_of(first[2])}
    assert list(written["http"]) == [servers.web.url("/file")]
    assert written["git"] == {f"{servers.git.url('app')}#main": f"{servers.copy.head} refs/heads/main"}

    servers.move()
    servers.web.files["/file"] = b"first\n"  # the server still has the file that was locked
    again = build(either, context, "--lock", str(lock), "--locked", root="elsewhere")
    assert again[:2] == first[:2] == ("first\n", "first\n")
    assert base_of(again[2]) == base_of(first[2])
    assert json.loads(lock.read_text()) == written

    unlocked = build(either, context)
    assert unlocked[1] == "another\n"
    assert base_of(unlocked[2]) != base_of(first[2])


def test_a_locked_file_that_is_another_is_refused(trimaran, context, servers):
    lock = trimaran.home / "my.lock"
    build(trimaran, context, "--lock", str(lock))
    servers.web.files["/file"] = b"another\n"
    said = build(trimaran, context, "--lock", str(lock), root="elsewhere", exit_code=1)
    assert "digest mismatch" in said
    assert f"ADD {servers.web.url('/file')} /file" in said


def test_what_the_lock_does_not_say_is_refused_before_it_is_asked_for(trimaran, context, servers):
    (trimaran.home / "my.lock").write_text('{"version": 1}')
    said = build(trimaran, context, "--lock", str(trimaran.home / "my.lock"), "--locked", exit_code=1)
    assert f"ERROR: read lock: it does not say what {servers.registry.host}/alpine:latest is" in said
    assert "Dockerfile:1" in said
    assert servers.asked() == 0


def test_a_dockerfile_and_a_context_of_urls_are_locked_too(either, context, servers, tmp_path):
    lock = either.home / "my.lock"
    with tarfile.open(tmp_path / "context.tar", "w") as archive:
        archive.add(context.write("inside", "inside\n"), "inside")
    servers.web.files["/context.tar"] = (tmp_path / "context.tar").read_bytes()
    servers.web.files["/Dockerfile"] = b"FROM scratch\nCOPY inside /\n"
    urls = [servers.web.url("/Dockerfile"), servers.web.url("/context.tar")]
    words = ("build", "-o", str(either.home / "out"), "-f", urls[0], urls[1])
    lock.write_text('{"version": 1}')
    said = either(*words, "--lock", str(lock), "--locked", exit_code=1).stderr
    assert f"ERROR: read lock: it does not say what {urls[0]} is" in said
    assert servers.asked() == 0
    either(*words, "--lock", str(lock))
    assert set(json.loads(lock.read_text())["http"]) == set(urls)
    either(*words, "--lock", str(lock), "--locked")
    servers.web.files["/Dockerfile"] = b"FROM scratch\nCOPY inside /another\n"
    said = either(*words, "--lock", str(lock), "--locked", exit_code=1).stderr
    assert f"download {urls[0]}: digest mismatch" in said
    assert "it has changed since the lock was written" in said
    before = servers.asked()
    said = either(*words, "--offline", exit_code=1).stderr
    assert f"download {urls[0]}: it is not on this machine, and --offline lets nobody be asked" in said
    assert servers.asked() == before


def test_a_context_of_git_stays_the_commit_that_was_locked(trimaran, context, servers):
    lock = trimaran.home / "my.lock"
    servers.copy.write("Dockerfile", "FROM scratch\nCOPY made /\n")
    servers.copy.commit()
    url = f"{servers.git.url('app')}#main"
    words = ("build", "-o", str(trimaran.home / "out"), "--lock", str(lock), url)
    trimaran(*words)
    locked = servers.copy.head
    servers.move()
    trimaran(*words, "--locked", env={"TRIMARAN_ROOT": str(trimaran.home / "elsewhere")})
    assert (trimaran.home / "out/made").read_text() == "first\n"
    assert json.loads(lock.read_text())["git"] == {url: f"{locked} refs/heads/main"}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "no JSON"),
        ('{"version": 2}', "no lock of version 1"),
        ('{"version": 1, "images": {}}', "unknown key 'images'"),
        ('{"version": 1, "image": {"a": 1}}', "'image' holds something else"),
    ],
)
def test_a_file_that_is_no_lock(trimaran, context, text, word):
    context.dockerfile("FROM scratch\n")
    path = trimaran.home / "my.lock"
    path.write_text(text)
    said = trimaran("build", "--lock", str(path), context, exit_code=1).stderr
    assert word in said
    assert "Traceback" not in said
    assert path.read_text() == text


@pytest.mark.root
@pytest.mark.rootless
def test_a_lock_that_cannot_be_written_is_told_before_the_build(either, context):
    context.dockerfile("FROM alpine\nRUN false\n")
    missing = either.home / "missing" / "my.lock"
    said = either("build", "--lock", str(missing), context, exit_code=1).stderr
    assert f"write lock {missing}: its folder is not there" in said
    assert "[internal]" not in said


def test_a_hostile_lock_gives_git_no_option(trimaran, context, servers):
    """T21: a lock may come along with what is built."""
    lock = trimaran.home / "my.lock"
    build(trimaran, context, "--lock", str(lock))
    document = json.loads(lock.read_text())
    (name,) = document["git"]
    document["git"][name] = f"{servers.copy.head} --upload-pack=touch${{IFS}}/tmp/trimaran-owned"
    lock.write_text(json.dumps(document))
    said = build(trimaran, context, "--lock", str(lock), root="elsewhere", exit_code=1)
    assert "no reference can be named so" in said


def test_offline_asks_nobody(either, context, servers):
    first = build(either, context)
    before = servers.asked()
    again = build(either, context, "--offline")
    assert again[:2] == first[:2]
    assert base_of(again[2]) == base_of(first[2])
    assert servers.asked() == before


def test_offline_says_what_is_missing(trimaran, context, servers):
    said = build(trimaran, context, "--offline", exit_code=1)
    assert "alpine:latest: it is not on this machine, and --offline lets nobody be asked" in said
    assert servers.asked() == 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_registry_that_says_no_is_stood_in_for(trimaran, context, servers, status):
    context.dockerfile(f"FROM {servers.registry.host}/alpine\nCOPY Dockerfile /file\n")
    out = trimaran.home / "out"
    words = ("build", "--progress", "plain", "-o", str(out), context)
    first = trimaran(*words).stderr
    rule = {"status": status, "headers": {"Retry-After": "0"}, "path": "/alpine/", "times": 0}
    servers.registry.fail(STATUS, **rule)
    again = trimaran(*words).stderr
    assert base_of(again) == base_of(first)
    assert f"{servers.registry.host} gives no answer now" in again

    trimaran.settings.write_text('remember-tags = "0s"\n' + trimaran.settings.read_text())
    refused = trimaran(*words, exit_code=1).stderr
    assert str(status) in refused


def test_a_registry_that_is_gone_is_stood_in_for(trimaran, context, base_layout):
    with FaultyRegistry() as registry:
        fill(registry, base_layout)
        context.dockerfile(f"FROM {registry.host}/alpine\nCOPY Dockerfile /file\n")
        words = ("build", "--progress", "plain", "-o", str(trimaran.home / "out"), context)
        first = trimaran(*words).stderr
    again = trimaran(*words).stderr
    assert base_of(again) == base_of(first)
    context.dockerfile(f"FROM {registry.host}/other\n")
    assert f"{registry.host}" in trimaran(*words, exit_code=1).stderr
