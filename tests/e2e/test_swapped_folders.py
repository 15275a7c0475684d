"""T34: a folder becomes a link while it is read, copied, unpacked or written: nobody is led out, and it is told plainly.

As docker's and containerd's copies were led out (CVE-2018-15664, CVE-2025-47290, CVE-2026-41568, CVE-2026-42306).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stage.contexts import Context, open_folder
from stage.hostile import untouched
from stage.program import Trimaran
from stage.swapping import swapped

CANARY = "a secret of this machine"
ROUNDS = 3


@pytest.fixture
def victim() -> Iterator[Path]:
    """A folder of the machine with names that builds here use, which anybody may read and write."""
    with open_folder() as outer:
        path = outer / "victim"
        path.mkdir()
        path.chmod(0o777)
        for number in range(40):
            (path / f"f{number}").write_text(CANARY)
            (path / f"f{number}").chmod(0o666)
        yield path


@pytest.fixture
def shared() -> Iterator[Path]:
    """Where whoever swaps and whoever builds may both write."""
    with open_folder() as outer:
        outer.chmod(0o777)
        yield outer


def build(command: Trimaran, context: Context, *words: str) -> str:
    """What it says; it may fail where it was hindered, but not by a bug."""
    done = command("build", "--progress=plain", *words, ".", cwd=context.folder, exit_code=None)
    assert "Traceback" not in done.stderr, done.stderr
    assert CANARY not in done.stderr
    assert (done.returncode == 0) != ("\nERROR: " in done.stderr), done.stderr
    return done.stderr


def test_a_context_that_is_swapped_while_it_is_copied(
    either: Trimaran, bases: str, context: Context, victim: Path, shared: Path
) -> None:
    for number in range(40):
        context.write(f"deep/dir/f{number}", "of the context\n")
    text = "FROM alpine AS bound\nRUN --mount=type=bind,target=/c cp -r /c/deep /bound; true\nFROM scratch\n"
    context.dockerfile(text + "COPY deep /all\nCOPY deep/dir/f3 /one\nCOPY --from=bound /bound* /bound\n")
    worked = 0
    with swapped(context / "deep" / "dir", victim):
        for number in range(ROUNDS):
            archive = shared / f"{number}.tar"
            build(either, context, "--no-cache", "-o", f"type=tar,dest={archive}")
            worked += archive.exists()
            assert not archive.exists() or CANARY.encode() not in archive.read_bytes()
    build(either, context, "--no-cache", "-o", f"type=tar,dest={shared}/quiet.tar")
    assert (shared / "quiet.tar").read_bytes().count(b"of the context") >= 41, "it goes on when the swapping is over"


@pytest.mark.parametrize("name", ["sub", "sub/deeper"])
def test_a_destination_that_is_swapped_while_it_is_written(
    trimaran: Trimaran, context: Context, victim: Path, shared: Path, name: str
) -> None:
    for number in range(40):
        context.write(f"sub/deeper/f{number}", "of the context\n")
        context.write(f"sub/f{number}", "of the context\n")
    context.dockerfile("FROM scratch\nCOPY --chmod=4755 sub /sub\n")
    dest = shared / "dest"
    check = untouched(victim)
    with swapped(dest / name, victim):
        for _ in range(ROUNDS):
            build(trimaran, context, "-o", f"type=local,dest={dest}")
            build(trimaran, context, "-o", f"type=local,dest={dest},mode=delete")
    check()
    build(trimaran, context, "-o", f"type=local,dest={shared}/quiet")
    assert (shared / "quiet" / name / "f7").read_text() == "of the context\n"


def test_a_layout_that_is_swapped_while_it_is_written(
    trimaran: Trimaran, context: Context, victim: Path, shared: Path
) -> None:
    context.write("file", "of the context\n")
    context.dockerfile("FROM scratch\nCOPY file /\n")
    check = untouched(victim)
    with swapped(shared / "layout" / "blobs", victim):
        for number in range(ROUNDS):
            context.write("file", f"{number}\n")
            build(trimaran, context, "-o", f"type=oci,tar=false,dest={shared}/layout")
            build(trimaran, context, f"--cache-to=type=local,dest={shared}/layout,reset=true")
    check()
