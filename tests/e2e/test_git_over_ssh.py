"""Git repositories over ssh, from a real sshd, with keys that only an agent has: for both kinds of user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import ssh
from stage.contexts import Context
from stage.git_server import GitServer, WorkingCopy, git
from stage.program import Trimaran

as_root = pytest.mark.parametrize("either", ["trimaran"], indirect=True)


@pytest.fixture
def key(either: Trimaran) -> Path:
    return ssh.make_key(either.home)


@pytest.fixture
def server(either: Trimaran, key: Path, tmp_path: Path) -> Iterator[ssh.SshServer]:
    """Its host key is one that the person has taken into known_hosts."""
    with ssh.SshServer(tmp_path / "sshd", key).serving() as running:
        know(either, running.known_hosts)
        yield running


def know(command: Trimaran, text: str) -> None:
    folder = command.home / ".ssh"
    folder.mkdir(exist_ok=True)
    (folder / "known_hosts").write_text(text)


@pytest.fixture
def app(tmp_path: Path) -> WorkingCopy:
    """A repository with a subdirectory and a submodule that is named as seen from it."""
    folder = tmp_path / "repositories"
    inner = WorkingCopy(folder / "inner")
    inner.write("part", "part\n")
    inner.commit()
    copy = WorkingCopy(folder / "app")
    copy.write("sub/file", "file\n")
    copy.write("Dockerfile", "FROM scratch\nCOPY . /context/\n")
    git(copy.folder, "submodule", "--quiet", "add", str(inner.folder), "mod")
    git(copy.folder, "config", "--file", ".gitmodules", "submodule.mod.url", "../inner")
    copy.first = copy.commit()  # type: ignore[attr-defined]
    return copy


def build(command: Trimaran, *words: str | os.PathLike[str], **options: object) -> tuple[dict[str, str], str]:
    """The files that a build gives, but those of .git, and what was said."""
    out = command.home / f"out-{len(list(command.home.glob('out-*')))}"
    said = command("build", "--progress=plain", "-o", str(out), *words, **options).stderr  # type: ignore[arg-type]
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and "/.git/" not in str(path)]
    return {str(path.relative_to(out)): path.read_text() for path in files}, said


def test_contexts_and_add_with_an_agent(
    either: Trimaran, key: Path, server: ssh.SshServer, app: WorkingCopy, context: Context
) -> None:
    """As the context, as a named one, for ADD with every way to name a commit: all by the one agent."""
    url = server.url(app.folder)
    git(app.folder, "tag", "-a", "-m", "annotated", "v1")
    app.write("later", "later\n")
    app.commit()
    tree = {"Dockerfile": "FROM scratch\nCOPY . /context/\n", "sub/file": "file\n", "mod/part": "part\n"}
    with ssh.agent(either, key) as socket:
        files, said = build(either, "--ssh=default", url + "#v1", env={"SSH_AUTH_SOCK": str(socket)})
        assert {f"context/{path}": text for path, text in tree.items()}.items() <= files.items()
        assert "context/later" not in files
        assert f"load git source {url}" in said
        query = "submodules=false&branch=main"
        context.dockerfile(
            f"FROM scratch\nADD --checksum={app.first} {url}#v1:sub /sub/\n"  # type: ignore[attr-defined]
            f"ADD --keep-git-dir=true {url}?{query} /kept/\nCOPY --from=repo sub/file /named\n"
        )
        words = (f"--ssh=default={socket}", f"--build-context=repo={url}?{query}", context)
        files, _ = build(either, *words)
        assert {files[name] for name in ("sub/file", "named", "kept/sub/file")} == {"file\n"}
        assert files["kept/later"] == "later\n"
    (out,) = either.home.glob("out-1")
    kept = out / "kept"
    assert git(kept, "-c", "safe.directory=*", "rev-parse", "HEAD") == app.head
    assert git(kept, "-c", "safe.directory=*", "remote", "get-url", "origin") == url
    assert "Accepted publickey" in server.said
    assert "git-receive-pack" not in server.said


def test_a_key_from_a_file(either: Trimaran, key: Path, server: ssh.SshServer, app: WorkingCopy) -> None:
    """It goes to an agent of the build's own; git is shown that, never the file."""
    files, _ = build(either, f"--ssh=default={key}", server.url(app.folder))
    assert files["context/mod/part"] == "part\n"
    secret = key.read_text().splitlines()[2]
    key.unlink()
    for path in either.home.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


@as_root
def test_what_keeps_a_build_out(either: Trimaran, key: Path, server: ssh.SshServer, app: WorkingCopy) -> None:
    """No agent, another key, a host that is not known, and one that is not who it was."""
    url = server.url(app.folder)
    refused = either("build", url, exit_code=1).stderr
    assert "Permission denied (publickey)" in refused
    assert "hint: start an ssh agent that holds a key for this host" in refused
    other = ssh.make_key(either.home, "other")
    assert "Permission denied" in either("build", f"--ssh=default={other}", url, exit_code=1).stderr
    stranger = " ".join(other.with_name("other.pub").read_text().split(" ")[:2])
    for text, hint in (
        ("", "connect once by ssh to take the host's key into ~/.ssh/known_hosts"),
        (f"[127.0.0.1]:{server.port} {stranger}\n", "somebody may be listening in"),
    ):
        know(either, text)
        assert f"hint: {hint}" in either("build", f"--ssh=default={key}", url, exit_code=1).stderr


@pytest.mark.parametrize("url", ["ssh://-oProxyCommand=touch${IFS}EVIL/x", "ssh://root@h/../../x#--upload-pack=EVIL"])
def test_hostile_urls(trimaran: Trimaran, context: Context, tmp_path: Path, url: str) -> None:
    """T20, T21: no part of a URL becomes an option of git or ssh."""
    evil = tmp_path / "evil"
    url = url.replace("EVIL", str(evil))
    for words in ((context,), (url,), (f"--build-context=x={url}", context)):
        context.dockerfile(f"FROM scratch\nADD {url} /\nCOPY --from=x / /\n")
        said = trimaran("build", "--ssh=default=/dev/null", *words, exit_code=None)
        assert said.returncode
        assert "Traceback" not in said.stderr
    assert not evil.exists()


@as_root
def test_a_submodule_by_ssh_of_a_repository_by_http_gets_no_agent(
    either: Trimaran, key: Path, server: ssh.SshServer, app: WorkingCopy, tmp_path: Path
) -> None:
    """T27: what logs in was given for the host that the person named, not for those that a stranger's file names."""
    with GitServer(tmp_path / "http").serving() as http:
        outer = http.repository("outer")
        outer.write("Dockerfile", "FROM scratch\nCOPY . /\n")
        git(outer.folder, "submodule", "--quiet", "add", str(app.folder), "in")
        git(outer.folder, "config", "--file", ".gitmodules", "submodule.in.url", server.url(app.folder))
        outer.commit()
        said = either("build", f"--ssh=default={key}", http.url("outer"), exit_code=1).stderr
        assert "Permission denied (publickey)" in said
        assert "Accepted publickey" not in server.said
        files, _ = build(either, f"--ssh=default={key}", http.url("outer") + "?submodules=false")
        assert "Dockerfile" in files
