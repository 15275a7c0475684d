"""The wheel in a clean environment on each Python of this machine: the main job, the checks, every command's help."""

from __future__ import annotations

import json
import subprocess

import pytest
from stage.contexts import Context
from stage.program import Trimaran
from stage.pythons import environment, pythons, with_wheels

PLATFORMS = "linux/amd64,linux/arm64"
DOCKERFILE = """\
FROM alpine AS made
RUN uname -m > /arch
FROM alpine
COPY --from=made --chown=1:2 /arch /srv/
COPY data /srv/data
CMD ["cat", "/srv/arch"]
"""


@pytest.fixture(scope="session", params=with_wheels())
def clean(request, tmp_path_factory):
    """The program of an environment that has the wheel and what it asks for, and nothing else."""
    return environment(tmp_path_factory.mktemp("python") / request.param, pythons()[request.param])


@pytest.fixture
def installed(clean, trimaran) -> Trimaran:
    trimaran.command = [str(clean)]
    return trimaran


@pytest.mark.root
@pytest.mark.emulated
def test_the_main_job(installed: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile(DOCKERFILE)
    context.write("data/one", "1\n")
    reference = f"{bases}/python:{installed.command[0].split('/')[-3]}"
    line = ("build", "-t", reference, "--platform", PLATFORMS, "--push", context)
    installed(*line)
    installed(*line, "--fail-on-miss")
    index = json.loads(installed("imagetools", "inspect", "--raw", reference).stdout)
    platforms = [f"{each['platform']['os']}/{each['platform']['architecture']}" for each in index["manifests"]]
    assert platforms == PLATFORMS.split(",")
    assert installed("run", "--platform", "linux/arm64", reference).stdout == "aarch64\n"
    assert installed("run", reference, "cat", "/srv/data/one").stdout == "1\n"


def test_checks_and_stored_things(installed: Trimaran, context: Context) -> None:
    context.dockerfile("FROM scratch as one\nMAINTAINER me\nCOPY --from=nobody a /\n")
    said = installed("build", "--check", context, exit_code=1)
    assert "FromAsCasing" in said.stdout
    context.dockerfile("FROM scratch\nCOPY Dockerfile /\n")
    output = installed.home / "out"
    installed("build", "-t", "kept", "-o", f"type=local,dest={output}", "-o", "type=image", context)
    assert (output / "Dockerfile").exists()
    assert "kept" in installed("images").stdout
    assert "TOTAL" in installed("du").stdout.upper()
    assert installed("fsck").returncode == 0
    installed("rmi", "kept")


def test_every_command_says_what_it_does(installed: Trimaran) -> None:
    names = [
        line.split()[0]
        for line in installed("--help").stdout.splitlines()
        if line.startswith("  ") and line[2:3].isalpha()
    ]
    assert len(names) > 20
    for name in names:
        assert installed(name, "--help").stdout.strip(), name
    assert f"python{installed.command[0].split('/')[-3]}" in installed("version").stdout


def test_the_library(installed: Trimaran, context: Context) -> None:
    """As in a program of one's own, which has no Trimaran on its command line."""
    context.dockerfile("FROM scratch\nCOPY Dockerfile /\n")
    script = f"import trimaran; print(trimaran.build({str(context.folder)!r}, tags=['lib:1']).digest)"
    python = [f"{installed.command[0].rpartition('/')[0]}/python", "-c", script]
    done = subprocess.run(python, env=installed.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sha256:")
    assert "lib" in installed("images").stdout
