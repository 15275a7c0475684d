"""Contexts that are no folder: git and HTTP(S) URLs, archives on standard input, Dockerfiles from URLs, named ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import subprocess
import tarfile

import pytest
from stage.git_server import GitServer, git
from stage.web_server import WebServer

DOCKERFILE = "FROM scratch\nCOPY . /\n"


@pytest.fixture
def web():
    with WebServer().serving() as running:
        yield running


@pytest.fixture
def git_server(tmp_path):
    with GitServer(tmp_path / "repositories").serving() as running:
        yield running


@pytest.fixture
def app(git_server):
    copy = git_server.repository("app")
    copy.write("Dockerfile", DOCKERFILE)
    copy.write("file", "file\n")
    copy.write("sub/Dockerfile", "FROM scratch\nCOPY inner /\n")
    copy.write("sub/inner", "inner\n")
    copy.write(".dockerignore", "file\n")
    copy.first = copy.commit()
    return copy


def archive(files, mode="w", **members):
    """A tar with these files (path → content); `members`: path → a TarInfo's other fields."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            data = content.encode()
            member.size = len(data)
            for name, value in members.get(path.replace("/", "_"), {}).items():
                setattr(member, name, value)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


FILES = {"Dockerfile": DOCKERFILE, "file": "file\n", "other/Dockerfile": "FROM scratch\nCOPY file /other\n"}


def piped(program, *arguments, data=b"", **options):
    """Run with `data` on a pipe as standard input: exit code and what was said."""
    kept = program.home / "stdin"
    kept.write_bytes(data)
    with subprocess.Popen(["cat", kept], stdout=subprocess.PIPE) as cat:
        process = program.start("build", "--progress", "plain", *arguments, stdin=cat.stdout.fileno(), **options)
        _, errors = process.communicate(timeout=240)
        cat.stdout.close()
    return process.returncode, errors


def build(program, *arguments, exit_code=0, **options):
    """Build into a folder: its files, and what was said."""
    out = program.home / f"out-{len(list(program.home.glob('out-*')))}"
    code, said = piped(program, "-o", str(out), *arguments, **options)
    assert code == exit_code, said
    return (
        {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} if out.exists() else {}
    ), said


def test_a_git_context(either, git_server, app):
    files, said = build(either, git_server.url("app"))
    assert set(files) == {"Dockerfile", "file", "sub/Dockerfile", "sub/inner", ".dockerignore"}, "nothing is ignored"
    assert f"[internal] load git source {git_server.url('app')}" in said


def test_a_git_context_with_reference_and_subdirectory(trimaran, git_server, app):
    app.write("sub/inner", "later\n")
    app.commit()
    assert build(trimaran, git_server.url("app") + f"#{app.first}:sub")[0] == {"inner": b"inner\n"}
    assert build(trimaran, git_server.url("app") + "?branch=main&subdir=sub")[0] == {"inner": b"later\n"}


def test_a_git_context_with_another_dockerfile(trimaran, git_server, app, context):
    assert "file" in build(trimaran, "-f", "Dockerfile", git_server.url("app"))[0]
    app.write("sub/Other.Dockerfile", "FROM scratch\nCOPY sub/inner /other\n")
    app.commit()
    assert build(trimaran, "-f", "sub/Other.Dockerfile", git_server.url("app"))[0] == {"other": b"inner\n"}
    own = context.write("Own.Dockerfile", "FROM scratch\nCOPY file /own\n")
    assert build(trimaran, "-f", own, git_server.url("app"))[0] == {"own": b"file\n"}
    stdin = b"FROM scratch\nCOPY file /stdin\n"
    assert build(trimaran, "-f", "-", git_server.url("app"), data=stdin)[0] == {"stdin": b"file\n"}


def test_a_git_context_that_keeps_its_folder(trimaran, git_server, app):
    files, _ = build(trimaran, "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", git_server.url("app"))
    assert files[".git/HEAD"] == b"ref: refs/heads/main\n"


@pytest.mark.parametrize("subdir", ["../../../../etc", "link", "up"])
def test_a_git_subdirectory_never_leads_out(trimaran, git_server, app, subdir):
    """T22, T23: neither dots nor links of the repository lead to this machine's files."""
    (app / "link").symlink_to("/etc")
    (app / "up").symlink_to("../../../../../../etc")
    app.commit()
    _, said = build(trimaran, git_server.url("app") + "#main:" + subdir, exit_code=1)
    assert "passwd" not in said
    assert "no folder" in said


def test_a_dockerfile_that_is_a_link_out(trimaran, git_server, app):
    """T23, T35: a link is followed inside the context alone."""
    (app / "Dockerfile").unlink()
    (app / "Dockerfile").symlink_to("/etc/hostname")
    app.commit()
    _, said = build(trimaran, git_server.url("app"), exit_code=1)
    assert "read Dockerfile: no such file" in said
    (app / "Dockerfile").unlink()
    (app / "Dockerfile").symlink_to("sub/../sub/Real")
    app.write("sub/Real", "FROM scratch\nCOPY file /real\n")
    app.commit()
    assert build(trimaran, git_server.url("app"))[0] == {"real": b"file\n"}, "one within is followed"


COMPRESSED = {
    "tar": lambda data: data,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: __import__("zstandard").ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_an_archive_on_standard_input(trimaran, kind):
    files, said = build(trimaran, "-", data=COMPRESSED[kind](archive(FILES)))
    assert files == {path: content.encode() for path, content in FILES.items()}
    assert "[internal] load remote build context" in said


def test_an_archive_on_standard_input_rootless(rootless):
    assert build(rootless, "-", data=archive(FILES))[0]["file"] == b"file\n"


def test_every_kind_of_context_without_root(rootless, git_server, app, web, context):
    url = git_server.url("app")
    web.files |= {"/context.tar.xz": lzma.compress(archive(FILES)), "/plain": b"FROM scratch\nCOPY context /copied\n"}
    web.files["/Dockerfile"] = b"FROM scratch\nCOPY mine /from-url\n"
    context.write("mine", "mine\n")
    context.dockerfile("FROM base\nCOPY --from=more / /\n")
    stdin = b"FROM scratch\nCOPY sub/inner /stdin\n"
    cases = [
        ((f"{url}#{app.first}:sub",), b"", {"inner": b"inner\n"}),
        (("-f", "-", f"{url}?branch=main&submodules=0"), stdin, {"stdin": b"inner\n"}),
        (("-f", "other/Dockerfile", web.url("/context.tar.xz")), b"", {"other": b"file\n"}),
        ((web.url("/plain"),), b"", {"copied": web.files["/plain"]}),
        (("-f", web.url("/Dockerfile"), context), b"", {"from-url": b"mine\n"}),
        (("-f", "other/Dockerfile", "-"), bz2.compress(archive(FILES)), {"other": b"file\n"}),
        (("-",), b"FROM scratch\nCOPY <<x /\ny\nx\n", {"x": b"y\n"}),
        (
            (f"--build-context=base={url}#main:sub", f"--build-context=more={web.url('/plain')}", context),
            b"",
            {"Dockerfile": b"FROM scratch\nCOPY inner /\n", "inner": b"inner\n", "context": web.files["/plain"]},
        ),
    ]
    for words, data, expected in cases:
        assert build(rootless, *words, data=data)[0] == expected, words


def test_an_archive_and_a_dockerfile(trimaran, context):
    assert build(trimaran, "-f", "other/Dockerfile", "-", data=archive(FILES))[0] == {"other": b"file\n"}
    own = context.write("Own", "FROM scratch\nCOPY file /own\n")
    assert build(trimaran, "-f", own, "-", data=archive(FILES))[0] == {"own": b"file\n"}


def test_owners_and_modes_of_an_archive(trimaran, tmp_path):
    data = archive(FILES, file={"mode": 0o640, "uid": 7, "gid": 8})
    done = trimaran.home / "out.tar"
    code, said = piped(trimaran, "-o", f"type=tar,dest={done}", "-", data=data)
    assert code == 0, said
    with tarfile.open(done) as tar:
        member = tar.getmember("file")
    assert (stat.S_IMODE(member.mode), member.uid, member.gid) == (0o640, 7, 8)


def test_a_hostile_archive(trimaran, tmp_path):
    """T24, T31: what it names outside is inside, or refused; nothing of this machine is touched."""
    evil = tmp_path / "evil"
    data = archive({"Dockerfile": DOCKERFILE, f"../../../../..{evil}": "evil\n"})
    piped(trimaran, "-", data=data)
    assert not evil.exists()


def test_a_dockerfile_on_standard_input(trimaran):
    """What is no archive is a Dockerfile, with nothing to copy."""
    _, said = build(trimaran, "-", data=b"FROM scratch\nCOPY . /\n")
    assert "load build definition from Dockerfile" in said
    _, said = build(trimaran, "-", data=b"", exit_code=1)
    assert "it is empty" in said


def test_an_archive_from_a_url(either, web):
    web.files["/context.tar.gz"] = gzip.compress(archive(FILES))
    files, said = build(either, web.url("/context.tar.gz"))
    assert files == {path: content.encode() for path, content in FILES.items()}
    build(either, web.url("/context.tar.gz"))
    assert web.statuses == [200, 304]


def test_a_dockerfile_as_context(trimaran, web):
    """A URL of a plain file: it is the Dockerfile, and the context is that file alone."""
    web.files["/some.Dockerfile"] = b"FROM scratch\nCOPY context /copied\n"
    assert build(trimaran, web.url("/some.Dockerfile"))[0] == {"copied": web.files["/some.Dockerfile"]}


def test_a_dockerfile_from_a_url(trimaran, web, context):
    web.files["/Dockerfile"] = b"FROM scratch\nCOPY mine /\n"
    context.write("mine", "mine\n")
    assert build(trimaran, "-f", web.url("/Dockerfile"), context)[0] == {"mine": b"mine\n"}
    web.files["/big"] = b"#" * ((16 << 20) + 1)
    assert "allowed" in build(trimaran, "-f", web.url("/big"), context, exit_code=1)[1]


def test_a_folder_goes_before_a_url_that_looks_like_it(trimaran, tmp_path):
    folder = trimaran.home / "github.com" / "some" / "repository"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    assert build(trimaran, "github.com/some/repository", cwd=trimaran.home)[0] == {"Dockerfile": DOCKERFILE.encode()}


def test_named_contexts(either, web, git_server, app, context):
    web.files["/x.txt"] = b"x\n"
    context.dockerfile(
        "FROM scratch\nCOPY --from=repo sub/inner /\nCOPY --from=page context /page\nCOPY --from=here a /\n"
    )
    (context.folder / "here").mkdir()
    context.write("here/a", "a\n")
    files, said = build(
        either,
        f"--build-context=repo={git_server.url('app')}#main",
        f"--build-context=page={web.url('/x.txt')}",
        f"--build-context=here={context / 'here'}",
        context,
    )
    assert files == {"inner": b"inner\n", "page": b"x\n", "a": b"a\n"}
    assert f"[internal] load git source {git_server.url('app')}#main" in said


def test_a_git_repository_as_base(trimaran, git_server, app, context):
    context.dockerfile("FROM base\nCOPY more /\n")
    context.write("more", "more\n")
    files, _ = build(trimaran, f"--build-context=base={git_server.url('app')}#main:sub", context)
    assert files == {"Dockerfile": b"FROM scratch\nCOPY inner /\n", "inner": b"inner\n", "more": b"more\n"}


def test_a_layout_as_base(either, bases, base_layout, context):
    """An image of an OCI layout: by tag, by digest, in place of a name of a registry."""
    context.dockerfile("FROM made AS a\nFROM scratch\nCOPY --from=a /etc/made /\n")
    context.write("make/Dockerfile", "FROM busybox\nRUN echo made > /etc/made\n")
    layout = either.home / "layout"
    made = either(
        "build", "--progress", "plain", "-t", "x:v1", "-o", f"type=oci,tar=false,dest={layout}", context / "make"
    )
    assert made.returncode == 0
    for value in (f"oci-layout://{layout}", f"oci-layout://{layout}:v1"):
        files, said = build(either, f"--build-context=made={value}", context)
        assert files == {"made": b"made\n"}
    _, said = build(either, f"--build-context=made=oci-layout://{layout}:v9", context, exit_code=1)
    assert "find v9" in said


def test_a_context_that_is_nothing(trimaran, context):
    context.dockerfile("FROM base\n")
    assert "unsupported context source" in build(trimaran, "--build-context=base=ftp://x/y", context, exit_code=1)[1]
    assert os.path.isdir(context.folder)


def test_submodules_of_a_context(trimaran, git_server, app):
    inner = git_server.repository("inner")
    inner.write("part", "part\n")
    inner.commit()
    git(app.folder, "submodule", "--quiet", "add", str(inner.folder), "mod")
    git(app.folder, "config", "--file", ".gitmodules", "submodule.mod.url", "../inner.git")
    app.commit()
    assert build(trimaran, git_server.url("app"))[0]["mod/part"] == b"part\n"
    assert "mod/part" not in build(trimaran, git_server.url("app") + "?submodules=false")[0]
