"""The parts of the base images that have a law: the same bytes every time, and links after what they link to."""

from __future__ import annotations

import tarfile
from pathlib import Path

from bases import apt, emulation
from bases.layer import EPOCH, Layer


def layer(path: Path, *, backwards: bool) -> Path:
    made = Layer()
    steps = [
        lambda: made.folder("bin"),
        lambda: made.file("bin/zsh", b"program", 0o755),
        lambda: made.hard_link("bin/ash", "bin/zsh"),
        lambda: made.symlink("sh", "/bin/zsh"),
        lambda: made.folder("tmp", 0o1777),
    ]
    for step in reversed(steps) if backwards else steps:
        step()
    made.write(path)
    return path


def test_layer_bytes_depend_on_content_alone(tmp_path: Path) -> None:
    one = layer(tmp_path / "one.tar.gz", backwards=False)
    other = layer(tmp_path / "another-name.tar.gz", backwards=True)
    assert one.read_bytes() == other.read_bytes()


def test_layer_is_in_an_order_that_can_be_unpacked(tmp_path: Path) -> None:
    with tarfile.open(layer(tmp_path / "it.tar.gz", backwards=True)) as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == ["bin", "bin/zsh", "sh", "tmp", "bin/ash"]
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname) for entry in entries} == {(EPOCH, 0, 0, "")}
    assert entries[3].mode == 0o1777


def test_registration_line_is_the_documented_one() -> None:
    line = emulation._line("x", "arm64").decode()
    magic = r"\x7f\x45\x4c\x46\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
    mask = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
    assert line == f":x:M::{magic}:{mask}:/usr/bin/qemu-aarch64-static:OCF"


def test_sources_are_of_one_suite() -> None:
    suites = [line.split()[3] for line in apt.sources()]
    assert apt.SUITE in suites
    assert all(suite.partition("-")[0] == apt.SUITE for suite in suites)
