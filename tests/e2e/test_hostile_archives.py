"""T32 to T34, T37, T38: archives that strangers made, by every way on which archives come in, with what must work.

The ways: layers of a base image in a registry and in a layout, ADD, a context on standard input.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stage import hostile
from stage.attacks import LOOK_ALIKES, Members, escapes, look_alikes
from stage.contexts import Context, open_folder
from stage.hostile import Layer, archive, untouched
from stage.program import Trimaran

from trimaran.testing.registry import FaultyRegistry

CANARY = "a secret of this machine"


@pytest.fixture
def victim() -> Iterator[Path]:
    """A folder of the machine that everybody may write to, with a secret that everybody may read and write."""
    with open_folder() as outer:
        path = outer / "victim"
        path.mkdir()
        path.chmod(0o777)
        (path / "canary").write_text(CANARY)
        (path / "canary").chmod(0o666)
        yield path


@pytest.fixture
def dest() -> Iterator[Path]:
    """Where any account may write what it built."""
    with open_folder() as outer:
        outer.chmod(0o777)
        yield outer / "dest"


def build(command: Trimaran, folder: Path, *words: str, stdin: bytes = b"") -> tuple[int, str]:
    """Exit code and what was said; never a bug, never the canary, and an error names what it is about."""
    process = subprocess.run(
        [*command.command, "build", "--progress=plain", *words],
        cwd=folder,
        env=command.environment,
        input=stdin,
        capture_output=True,
        timeout=200,
        check=False,
    )
    said = process.stderr.decode(errors="replace")
    assert "Traceback" not in said, said
    assert CANARY not in said
    assert (process.returncode == 0) != ("\nERROR: " in said), said
    return process.returncode, said


class Way:
    """One on which an archive comes in; what it holds ends in the folder `dest`."""

    def __init__(self, command: Trimaran, context: Context, faulty: FaultyRegistry, dest: Path, cwd: Path) -> None:
        self.command = command
        self.context = context
        self.faulty = faulty
        self.dest = dest
        self.cwd = cwd

    def build(self, text: str, *words: str) -> tuple[int, str]:
        self.context.dockerfile(text)
        return build(self.command, self.cwd, "-o", f"type=local,dest={self.dest}", *words, os.fspath(self.context))

    def base(self, members: Members) -> tuple[int, str]:
        """Layers of an image in a registry, unpacked for a step."""
        base = hostile.image_of(self.faulty, "hostile", Layer.of(archive(*members)))
        return self.build(f"FROM {base} AS base\nRUN true\nFROM scratch\nCOPY --from=base / /\n")

    def layout(self, members: Members) -> tuple[int, str]:
        """A named context; nothing of it is run."""
        layout = self.context.folder / "layout"
        reference = hostile.image_of(self.faulty, "hostile", Layer.of(archive(*members)))
        copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{reference}", f"oci:{layout}:latest"]
        subprocess.run(copy, check=True, capture_output=True)
        subprocess.run(["chmod", "-R", "a+rX", layout], check=True)
        words = ("--build-context", f"layout=oci-layout://{layout}:latest")
        return self.build("FROM scratch\nCOPY --from=layout / /\n", *words)

    def add(self, members: Members) -> tuple[int, str]:
        self.context.write("archive.tar", archive(*members))
        return self.build("FROM scratch\nADD archive.tar /\n")

    def stdin(self, members: Members) -> tuple[int, str]:
        dockerfile = (hostile.plain("Dockerfile"), b"FROM scratch\nCOPY . /\n")
        data = archive(dockerfile, *members)
        return build(self.command, self.cwd, "-o", f"type=local,dest={self.dest}", "-", stdin=data)


WAYS: dict[str, Callable[[Way, Members], tuple[int, str]]] = {
    "base": Way.base, "layout": Way.layout, "ADD": Way.add, "stdin": Way.stdin,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_no_archive_leaves_its_folder(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path, dest: Path, way: str
) -> None:
    """Started in the victim's folder, by which a careless unpacker would resolve names."""
    check = untouched(victim)
    every = 1 if way in {"base", "ADD"} else 3  # all come to one unpacker
    for name, members in [*escapes(victim).items()][::every]:
        code, said = WAYS[way](Way(trimaran, context, faulty, dest / name[:8], victim), members)
        check()
        if code:
            assert "read layer: " in said.rpartition("\nERROR: ")[2], (name, said)


def test_no_archive_leaves_its_folder_without_root(
    rootless: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path, dest: Path
) -> None:
    check = untouched(victim)
    for name, members in [*escapes(victim).items()][1::3]:
        Way(rootless, context, faulty, dest / name[:8], victim).base(members)
        check()


@pytest.mark.parametrize("way", WAYS)
def test_archives_that_only_look_like_that_must_work(
    either: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path, dest: Path, way: str
) -> None:
    code, said = WAYS[way](Way(either, context, faulty, dest, victim), look_alikes())
    assert code == 0, said
    for name, content in LOOK_ALIKES.items():
        at = dest / name
        if at.is_symlink():
            at = dest / os.path.normpath("/" + os.path.join(os.path.dirname(name), os.readlink(at))).lstrip("/")
        assert at.read_text() == content, name
    assert (dest / "hard").samefile(dest / "real/file")
    assert (dest / "harder").samefile(dest / "hard")
    assert (dest / "linked-link").readlink() == Path("real/file")
    assert (dest / "dangling").readlink() == Path("/nowhere/../at/all")
