"""Caches passed between us and a real BuildKit that has nothing cached of its own, in both directions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stage import docker_daemon
from stage.contexts import open_folder
from stage.docker_cli import DockerCli
from stage.program import Trimaran

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


def ran(said: str) -> list[str]:
    """Steps that were not served: BuildKit calls one whose layers it then fetches done, and shows what it fetches."""
    names = dict(re.findall(r"^#(\d+) (\[(?!internal).*)$", said, re.M))
    assert len(names) >= STEPS
    fetched = set(re.findall(r"^#(\d+) sha256:", said, re.M)) if '"default" instance' in said else set()
    served = fetched | set(re.findall(r"^#(\d+) CACHED", said, re.M))
    return [name for number, name in names.items() if number not in served]


@pytest.mark.root
@pytest.mark.parametrize(
    "options", ["mode=max", "mode=min", "mode=max,image-manifest=false", "mode=max,compression=zstd"]
)
def test_buildkit_hits_what_we_cached(
    trimaran: Trimaran, registry: str, buildx: Callable[..., str], context: Path, options: str
) -> None:
    ref = f"{registry}/ours:{options.replace('=', '-').replace(',', '-')}"
    trimaran("build", NO_NETWORK, f"--cache-to=type=registry,ref={ref},{options}", str(context))
    assert ran(buildx(f"--cache-from=type=registry,ref={ref}", str(context))) == []


@pytest.mark.root
@pytest.mark.parametrize("options", ["mode=max", "mode=min", "mode=max,image-manifest=false"])
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
