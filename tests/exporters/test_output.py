"""Where archives go: whole or not at all, also when the machine crashes."""

from __future__ import annotations

import os

import pytest

from trimaran.errors import Denied, UsageError
from trimaran.exporters.output import output_file


@pytest.fixture
def calls(monkeypatch):
    """What the real system calls were asked for, in order: (name, inode)."""
    seen = []

    def watched(name):
        real = getattr(os, name)

        def call(target, *arguments, **keywords):
            if name == "fsync":
                seen.append((name, os.fstat(target).st_ino))
            else:
                seen.append((name, os.stat(target, dir_fd=keywords["src_dir_fd"]).st_ino))
            return real(target, *arguments, **keywords)

        monkeypatch.setattr(os, name, call)

    watched("fsync")
    watched("rename")
    return seen


def test_bytes_are_on_disk_before_the_name_and_the_name_before_success(tmp_path, calls):
    path = tmp_path / "image.tar"
    path.write_bytes(b"earlier")
    with output_file(str(path)) as fd:
        os.write(fd, b"archive")
        assert calls == []
        assert path.read_bytes() == b"earlier"
    assert path.read_bytes() == b"archive"
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert calls == [("fsync", file), ("rename", file), ("fsync", folder)]


def break_off(path):
    with output_file(path) as fd:
        os.write(fd, b"half")
        raise RuntimeError


def test_a_failure_leaves_what_was_there_and_nothing_more(tmp_path):
    path = tmp_path / "image.tar"
    path.write_bytes(b"earlier")
    with pytest.raises(RuntimeError):
        break_off(str(path))
    assert path.read_bytes() == b"earlier"
    assert [each.name for each in tmp_path.iterdir()] == ["image.tar"]


def test_what_is_no_file_is_written_as_it_is(tmp_path, calls):
    with output_file("/dev/null") as fd:
        os.write(fd, b"gone")
    assert calls == []
    with pytest.raises(UsageError, match="it is a folder"), output_file(str(tmp_path)):
        pass
    with pytest.raises(Denied, match="no such file or directory"), output_file(str(tmp_path / "no" / "file")):
        pass
