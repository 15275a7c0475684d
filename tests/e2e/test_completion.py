"""The TAB key: in real shells, for trimaran and for docker; and docker's question answered as buildx answers it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from stage.program import Trimaran
from stage.terminal import Session, session

LINES = (
    "bu", "build --pl", "build --platform=", "build --platform x", "build --no-c", "build -", "build --", "build ",
    "build x", "build --builder ", "--builder ", "build -f ", "build --target ", "inspect ",
    "prune --", "du --", "ls --", "build --load --lo", "build --no-cache=",
)  # fmt: skip

SAME_WORDS = {"build", "prune", "du", "ls", "--platform", "--push", "--load", "--file", "--target", "--builder"}


@pytest.fixture
def docker(docker_cli, trimaran):
    """Asks docker what may follow on a line of buildx: ours, and the one it came with."""
    environment = docker_cli.with_our_plugin(trimaran)
    theirs = trimaran.home / "theirs"
    (theirs / "cli-plugins").mkdir(parents=True)
    (theirs / "cli-plugins/docker-buildx").symlink_to(docker_cli.buildx)

    def ask(line: str, *, ours: bool) -> tuple[dict[str, str], str]:
        chosen = environment if ours else {**environment, "DOCKER_CONFIG": str(theirs)}
        command = [docker_cli.program, "__complete", "buildx", *line.split(" ")]
        done = subprocess.run(command, env=chosen, cwd=trimaran.home, capture_output=True, text=True, check=True)
        *rows, directive = [row for row in done.stdout.splitlines() if row]
        return {value: said for value, _, said in (row.partition("\t") for row in rows)}, directive

    return ask


def test_docker_is_answered_as_by_buildx(docker):
    """All that buildx offers and we have, in its order and with its directive; beyond it our own flags and values."""
    left_out = {"--attest", "--provenance", "--sbom", "--verbose", "--cgroup-parent", "--shm-size", "--ulimit"}
    for line in LINES:
        theirs, directive = docker(line, ours=False)
        ours, own = docker(line, ours=True)
        assert theirs.keys() - ours.keys() <= left_out, line
        assert [value for value in ours if value in theirs] == [value for value in theirs if value in ours], line
        assert own == directive or (ours and not theirs), line
        assert {value: ours[value] for value in SAME_WORDS & ours.keys()} == {
            value: theirs[value] for value in SAME_WORDS & ours.keys()
        }, line


def test_commands_of_the_other_buildx_are_offered_and_completed_by_it(docker):
    ours, _ = docker("", ours=True)
    theirs, _ = docker("", ours=False)
    assert {"build", "logs", "bake", "create"} <= ours.keys()
    assert ours["bake"] == theirs["bake"]
    assert docker("create --dri", ours=True) == docker("create --dri", ours=False)


@pytest.fixture
def folder(trimaran, tmp_path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "Dockerfile.dev").write_text("FROM scratch\nCOPY Dockerfile.dev /\n")
    trimaran("build", "-f", "Dockerfile.dev", "-t", "local.test:5000/my-app:1", ".", cwd=tmp_path)
    return tmp_path


def prompt(words: list[str], environment: dict[str, str], folder: Path):
    """A shell on a terminal that knows no tricks."""
    shell = Trimaran(["env", "TERM=dumb", "PS1=$ ", *words], folder)
    shell.environment = environment
    return session(shell)


CASES = (
    ("trimaran bui", "trimaran build "),
    ("trimaran build --platf", "trimaran build --platform "),
    ("trimaran build --progress=raw", "trimaran build --progress=rawjson "),
    ("trimaran build --progress raw", "trimaran build --progress rawjson "),
    ("trimaran build -o type=o", "trimaran build -o type=oci"),
    ("trimaran build -f Dock", "trimaran build -f Dockerfile.dev "),
    ("trimaran build sou", "trimaran build source/"),
    ("trimaran run local.test:50", "trimaran run local.test:5000/my-app:1 "),
    ("trimaran run loc", "trimaran run local.test:5000/my-app:1 "),
    ("trimaran imagetools ins", "trimaran imagetools inspect "),
)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_tab_key(shell, trimaran, folder):
    """Typed at a prompt; what the line became is what the shell says when it is asked to show it."""
    path = f"{Path(trimaran.command[0]).parent}:{trimaran.environment['PATH']}"
    environment = {**trimaran.environment, "PATH": path, "ZDOTDIR": str(trimaran.home)}
    start = {"bash": ["bash", "--norc", "--noprofile"], "zsh": ["zsh", "-f"]}[shell]
    prepare = {
        "bash": "bind 'set bell-style none'; . <(trimaran completion bash)",
        "zsh": "autoload -Uz compinit; compinit -u -D; unsetopt beep; . <(trimaran completion zsh)",
    }[shell]
    with prompt(start, environment, folder) as terminal:
        terminal.type(f"{prepare}; echo re''ady\n")
        terminal.until("^ready")
        press_tab(terminal, CASES)


def press_tab(terminal: Session, cases: Iterable[tuple[str, str]]) -> None:
    """Behind what is typed, one line after the other, and wait for what it becomes; then leave."""
    for typed, wanted in cases:
        terminal.text = ""
        terminal.type(f"{typed}\t")
        terminal.until(re.escape(wanted))
        terminal.type("\x15\n")
    terminal.type("exit\n")
    terminal.end()


def test_fish(trimaran, folder):
    path = f"{Path(trimaran.command[0]).parent}:{trimaran.environment['PATH']}"
    (trimaran.home / "c.fish").write_text(trimaran("completion", "fish").stdout)
    for typed, wanted in CASES:
        script = f"source {trimaran.home}/c.fish; complete -C '{typed}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script],
            env={**trimaran.environment, "PATH": path}, cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert not done.stderr
        last = wanted.rstrip().split(" ")[-1]
        assert last in [row.split("\t")[0] for row in done.stdout.splitlines()], typed


def test_docker_in_bash(docker_cli, trimaran, folder):
    """With docker's own script, of which we know nothing."""
    environment = docker_cli.with_our_plugin(trimaran)
    environment = {**environment, "PATH": f"{docker_cli.program.parent}:{environment['PATH']}"}
    with prompt(["bash", "--norc", "--noprofile"], environment, folder) as terminal:
        terminal.type(". /usr/share/bash-completion/bash_completion; . <(docker completion bash); echo re''ady\n")
        terminal.until("^ready")
        press_tab(
            terminal,
            (
                ("docker buildx bui", "docker buildx build "),
                ("docker buildx build --platf", "docker buildx build --platform "),
                ("docker buildx build --progress raw", "docker buildx build --progress rawjson "),
                ("docker buildx build sou", "docker buildx build source/"),
                ("docker buildx ba", "docker buildx bake"),
            ),
        )


def test_a_store_that_cannot_be_read_is_no_error(trimaran):
    trimaran.root.mkdir()
    (trimaran.root / "store.db").write_bytes(b"no database" * 1000)
    done = trimaran("__complete", "run", "")
    assert (done.stdout, done.stderr) == (":4\n", "")
    assert os.listdir(trimaran.root)
