"""Caches passed between us and a real BuildKit that has nothing cached of its own, in both directions."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from stage import docker_daemon
from stage.contexts import open_folder
from stage.docker_cli import DockerCli
from stage.git_server import GitServer, WorkingCopy, git
from stage.program import Trimaran
from stage.web_server import WebServer

from goldens.caches import contexts

WORK = Path(__file__).parents[2] / ".work"
WHOLE = Path(contexts.__file__).parent / "dockerfiles/whole"
STEPS = 9
NO_NETWORK = "--network=none"
"""The daemon has no bridge; and the network is in the digest of a step."""


@pytest.fixture(scope="module")
def buildx() -> Iterator[Callable[..., str]]:
    """`docker buildx build`, on a daemon with a store of its own; what it says."""
    home = Path(tempfile.mkdtemp(prefix="trimaran-dockerd-", dir="/var/tmp"))
    cli = DockerCli.prepare(WORK / "docker")
    plugins = home / "docker/cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").symlink_to(cli.buildx)
    with docker_daemon.serving(WORK / "dockerd", home, containerd_store=True) as daemon:
        environment = {
            "DOCKER_HOST": daemon.host,
            "DOCKER_CONFIG": str(home / "docker"),
            "HOME": str(home),
            "PATH": os.environ["PATH"],
        }

        def build(*words: str) -> str:
            command = [str(cli.program), "buildx", "build", "--progress=plain", NO_NETWORK, *words]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stderr

        yield build
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def context() -> Iterator[Path]:
    """A context nobody built before."""
    with open_folder() as folder:
        contexts.write(folder / "context")
        shutil.copy(WHOLE, folder / "context/Dockerfile")
        for name in ("a.txt", "src/f1.txt", "pkg/other", "run.sh"):
            (folder / "context" / name).write_text(os.urandom(8).hex())
        with (folder / "context/program").open("ab") as program:  # what stands behind its only segment is not loaded
            program.write(os.urandom(8))
        yield folder / "context"


def ran(said: str, least: int = STEPS) -> list[str]:
    """Steps that were not served: BuildKit calls one whose layers it then fetches done, and shows what it fetches.

    A source that ADD reads has the name of the step, and is always asked.
    """
    names = dict(re.findall(r"^#(\d+) (\[(?!internal).*)$", said, re.M))
    assert len(names) >= least
    fetched = set(re.findall(r"^#(\d+) sha256:", said, re.M)) if '"default" instance' in said else set()
    served = fetched | set(re.findall(r"^#(\d+) CACHED", said, re.M))
    found = {name for number, name in names.items() if number in served}
    return [name for name in names.values() if name not in found]


@pytest.mark.root
@pytest.mark.parametrize(
    "options",
    [
        "mode=max",
        "mode=min",
        "mode=max,image-manifest=false",
        "mode=max,compression=zstd",
        "mode=max,sign-key=env:KEY",
        "mode=max,image-manifest=false,oci-mediatypes=false,sign-key=env:KEY",
    ],
)
def test_buildkit_hits_what_we_cached(
    trimaran: Trimaran, registry: str, buildx: Callable[..., str], context: Path, options: str
) -> None:
    ref = f"{registry}/ours:{re.sub('[=,:]', '-', options)}"
    key = {"KEY": "a key of trusted jobs"}
    trimaran("build", NO_NETWORK, f"--cache-to=type=registry,ref={ref},{options}", str(context), env=key)
    assert ran(buildx(f"--cache-from=type=registry,ref={ref}", str(context))) == []


@pytest.mark.root
@pytest.mark.parametrize(
    "options",
    [
        "mode=max",
        "mode=min",
        "mode=max,image-manifest=false",
        "mode=max,image-manifest=false,oci-mediatypes=false",
        "mode=max,compression=zstd,force-compression=true",
    ],
)
def test_we_hit_what_buildkit_cached(
    trimaran: Trimaran, registry: str, buildx: Callable[..., str], context: Path, options: str
) -> None:
    ref = f"{registry}/theirs:{options.replace('=', '-').replace(',', '-')}"
    buildx(f"--cache-to=type=registry,ref={ref},{options}", str(context))
    said = trimaran("build", "--progress=plain", NO_NETWORK, f"--cache-from={ref}", str(context)).stderr
    assert ran(said) == []


@pytest.mark.root
def test_a_cache_goes_round_between_both(
    trimaran: Trimaran, registry: str, buildx: Callable[..., str], context: Path
) -> None:
    """What we read of BuildKit and write again, with one step of our own, it still knows."""
    theirs, ours = f"{registry}/round:theirs", f"{registry}/round:ours"
    buildx(f"--cache-to=type=registry,ref={theirs},mode=max", str(context))
    (context / "run.sh").write_text("changed\n")
    arguments = (f"--cache-from={theirs}", f"--cache-to=type=registry,ref={ours},mode=max")
    said = trimaran("build", "--progress=plain", NO_NETWORK, *arguments, str(context)).stderr
    assert [name.partition("] ")[2] for name in ran(said)] == ["COPY run.sh /"]
    assert ran(buildx(f"--cache-from=type=registry,ref={ours}", str(context))) == []


@pytest.mark.root
def test_images_and_folders_hand_a_cache_on_both_ways(
    trimaran: Trimaran, registry: str, buildx: Callable[..., str], context: Path, tmp_path: Path
) -> None:
    """Inline, in an image that was pushed, and in a folder."""
    for kind in ("inline", "local"):
        for theirs in (False, True):
            (context / "a.txt").write_text(os.urandom(8).hex())
            image, folder = f"{registry}/carrying:{kind}-{theirs}", tmp_path / f"{kind}-{theirs}"
            to, source = {
                "inline": (["--cache-to=type=inline", "--push", "-t", image], f"type=registry,ref={image}"),
                "local": ([f"--cache-to=type=local,dest={folder},mode=max"], f"type=local,src={folder}"),
            }[kind]
            if theirs:
                buildx("--provenance=false", *to, str(context))
                words = ("--progress=plain", NO_NETWORK, f"--cache-from={source}")
                said = trimaran("build", *words, str(context)).stderr
            else:
                trimaran("build", NO_NETWORK, *to, str(context))
                said = buildx(f"--cache-from={source}", str(context))
            assert ran(said) == [], (kind, theirs)


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "git").serving() as running:
        yield running


@pytest.fixture
def repository(git_server: GitServer) -> WorkingCopy:
    """Two commits on `main`, the first with the annotated tag `v1`; nobody fetched them before."""
    copy = git_server.repository("app")
    copy.write("sub/file", os.urandom(8).hex())
    copy.write("top", "top\n")
    copy.commit("first")
    git(copy.folder, "tag", "-a", "-m", "one", "v1")
    copy.write("sub/later", os.urandom(8).hex())
    copy.commit("second")
    return copy


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer().serving() as running:
        running.files = {f"/{name}": os.urandom(8) for name in ("plain.txt", "pinned.bin", "run", "dated")}
        running.headers = {"/dated": {"Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"}}
        yield running


def remote_dockerfile(git_server: GitServer, web: WebServer, head: str) -> str:
    app = git_server.url("app")
    pinned = sha256(web.files["/pinned.bin"]).hexdigest()
    return f"""\
FROM scratch AS files
ADD {web.url("/plain.txt")} /web/
ADD {web.url("/dated")} /web/
ADD --checksum=sha256:{pinned} {web.url("/pinned.bin")} /web/
ADD --chmod=755 --chown=3:4 {web.url("/run")} /web/
FROM scratch
COPY --from=files / /
ADD {app} /default
ADD {app}#v1 /tagged
ADD {app}#main:sub /sub
ADD {app}#{head} /commit
ADD {app}?branch=main&submodules=false /plain
"""


def form(folder: Path) -> tuple[object, ...]:
    """How the cache in a folder is written: media types, and whether each layer's content is named."""
    (entry,) = json.loads((folder / "index.json").read_text())["manifests"]
    document = json.loads((folder / "blobs/sha256" / entry["digest"][7:]).read_text())
    children = document.get("manifests") or [document["config"], *document["layers"]]
    noted = sorted(
        (each["mediaType"], "containerd.io/uncompressed" in each.get("annotations", ())) for each in children
    )
    return entry["mediaType"], document["mediaType"], sorted(document), noted


@pytest.mark.root
@pytest.mark.parametrize(
    "options",
    [
        "image-manifest=true,compression=zstd,force-compression=true",
        "image-manifest=true,compression=uncompressed,force-compression=true",
        "image-manifest=false,compression=gzip,compression-level=9",
        "image-manifest=false,oci-mediatypes=false",
        "image-manifest=false,oci-mediatypes=false,compression=zstd,force-compression=true",
    ],
)
def test_each_form_is_written_as_buildkit_writes_it(
    trimaran: Trimaran, buildx: Callable[..., str], context: Path, tmp_path: Path, options: str
) -> None:
    """Forced where it is not gzip: else BuildKit leaves layers as it happens to have them, of whatever build."""
    trimaran("build", NO_NETWORK, f"--cache-to=type=local,dest={tmp_path}/ours,mode=max,{options}", str(context))
    buildx(f"--cache-to=type=local,dest={tmp_path}/theirs,mode=max,{options}", str(context))
    assert form(tmp_path / "ours") == form(tmp_path / "theirs")


def change(repository: WorkingCopy) -> dict[str, str]:
    """A new commit, which is tagged: the names of both."""
    repository.write("top", os.urandom(8).hex())
    commit = repository.commit()
    git(repository.folder, "tag", "-a", "-m", "one", f"v{commit}")
    return {"head": commit, "tag": f"v{commit}"}


def written(folder: Path) -> list[dict[str, object]]:
    """The records of the cache in a folder."""
    blobs = folder / "blobs/sha256"
    manifest = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"][7:]
    config = json.loads((blobs / manifest).read_text())["config"]["digest"][7:]
    records: list[dict[str, object]] = json.loads((blobs / config).read_text())["records"]
    return records


@pytest.mark.root
def test_sources_of_git_and_the_web_have_buildkits_keys(
    trimaran: Trimaran,
    buildx: Callable[..., str],
    git_server: GitServer,
    repository: WorkingCopy,
    web: WebServer,
    tmp_path: Path,
) -> None:
    """All that either writes of steps that read them the other writes, too: sources, contents and steps."""
    (tmp_path / "Dockerfile").write_text(
        remote_dockerfile(git_server, web, git(repository.folder, "rev-parse", "HEAD"))
    )
    caches = {name: tmp_path / name for name in ("ours", "theirs")}
    trimaran("build", f"--cache-to=type=local,dest={caches['ours']},mode=max", str(tmp_path))
    buildx(f"--cache-to=type=local,dest={caches['theirs']},mode=max", str(tmp_path))
    ours, theirs = (
        {(record["digest"], bool(record.get("inputs"))) for record in written(folder)} for folder in caches.values()
    )
    assert ours == theirs


@pytest.mark.root
def test_what_only_the_key_of_a_source_leads_to_is_hit_both_ways(
    trimaran: Trimaran,
    registry: str,
    buildx: Callable[..., str],
    git_server: GitServer,
    repository: WorkingCopy,
    tmp_path: Path,
) -> None:
    """No two programs write the same `.git`: its content leads nowhere."""
    text = "FROM scratch\nADD --keep-git-dir=true {url}{ref} /kept\nADD --keep-git-dir=true {url}{ref}:sub /sub\n"
    for number, ref in enumerate(("#", "#main", "#{tag}", "#{head}")):
        ours, theirs = (f"{registry}/git:{name}{number}" for name in ("ours", "theirs"))
        named = ref.format(**change(repository))
        (tmp_path / "Dockerfile").write_text(text.format(url=git_server.url("app"), ref=named))
        trimaran("build", f"--cache-to=type=registry,ref={ours},mode=min", str(tmp_path))
        assert ran(buildx(f"--cache-from={ours}", str(tmp_path)), 2) == []
        named = ref.format(**change(repository))
        (tmp_path / "Dockerfile").write_text(text.format(url=git_server.url("app"), ref=named))
        buildx(f"--cache-to=type=registry,ref={theirs},mode=min", str(tmp_path))
        said = trimaran("build", "--progress=plain", f"--cache-from={theirs}", str(tmp_path)).stderr
        assert ran(said, 2) == []
