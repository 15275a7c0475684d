"""Writing into a folder of the user's: what the image says, and never where a link leads, swapped at the worst moment."""

from __future__ import annotations

import os
import stat

import pytest

from trimaran.errors import Conflict, Denied
from trimaran.exporters.folder import FolderWriter
from trimaran.store.entries import FILE, FOLDER, HARDLINK, Entry
from trimaran.store.folder import Inline


@pytest.fixture
def victim(tmp_path):
    folder = tmp_path / "victim"
    folder.mkdir(mode=0o700)
    (folder / "f").write_text("kept")
    (folder / "f").chmod(0o600)
    before = facts(folder)
    yield folder
    assert facts(folder) == before


def facts(folder):
    return [(str(p), s.st_mode, s.st_mtime_ns, s.st_size) for p in (folder, *folder.iterdir()) for s in [p.lstat()]]


def file(path, mode=0o644):
    return Entry(path, FILE, mode, os.geteuid(), os.getegid(), 5 * 10**9, 1)


def swap(folder, victim):
    """What a stranger does who may write beside us."""
    folder.rename(folder.with_name("aside"))
    folder.symlink_to(victim)


def test_a_folder_becomes_a_link_right_after_it_was_made(tmp_path, victim):
    with FolderWriter(str(tmp_path / "dest")) as writer:
        writer.write(Entry("sub", FOLDER, 0o777), None)
        swap(tmp_path / "dest" / "sub", victim)
        with pytest.raises(Conflict, match=r"write sub/f to .*dest: (not a directory|too many)"):
            writer.write(file("sub/f", 0o4777), Inline(b"x"))
        with pytest.raises(Conflict, match="write sub to"):
            writer.finish()
        writer.delete_others(set())
    assert os.listdir(tmp_path / "dest") == [], "the link went, and not what it leads to"


def test_a_folder_becomes_a_link_while_it_is_open(tmp_path, victim):
    """What was opened is written, wherever it is now."""
    with FolderWriter(str(tmp_path / "dest")) as writer:
        writer.write(Entry("sub", FOLDER, 0o755), None)
        writer.write(file("sub/a"), Inline(b"x"))
        swap(tmp_path / "dest" / "sub", victim)
        writer.write(file("sub/f"), Inline(b"x"))
        writer.finish()
    assert sorted(os.listdir(tmp_path / "dest" / "aside")) == ["a", "f"]


def test_a_hard_link_s_first_name_is_behind_a_link(tmp_path, victim):
    with FolderWriter(str(tmp_path / "dest")) as writer:
        writer.write(Entry("a", FOLDER, 0o755), None)
        writer.write(file("a/f"), Inline(b"x"))
        writer.write(Entry("b", FOLDER, 0o755), None)
        swap(tmp_path / "dest" / "a", victim)
        with pytest.raises(Conflict, match="write b/f to"):
            writer.write(Entry("b/f", HARDLINK, 0o644, target="a/f"), None)


def test_a_file_becomes_a_link_before_it_is_written(tmp_path, victim):
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "f").symlink_to(victim / "f")
    with FolderWriter(str(dest)) as writer:
        writer.write(file("f", 0o666), Inline(b"x"))
        writer.finish()
    assert (dest / "f").read_text() == "x"
    assert not (dest / "f").is_symlink()


def test_set_id_bits_go_with_the_owner(tmp_path):
    own, group = os.geteuid(), os.getegid()
    with FolderWriter(str(tmp_path / "dest")) as writer:
        writer.write(Entry("own", FILE, 0o6755, own, group), Inline(b""))
        writer.write(Entry("strangers", FILE, 0o6755, own + 1, group + 1), Inline(b""))
        writer.write(Entry("shared", FOLDER, 0o2775, own + 1, group + 1), None)
        writer.finish()
    found = {name: stat.S_IMODE((tmp_path / "dest" / name).stat().st_mode) for name in ("own", "strangers", "shared")}
    assert found == {"own": 0o6755, "strangers": 0o755, "shared": 0o2775}, "a folder's bit lets nobody act"


def test_what_the_disk_says_is_told_with_the_path(tmp_path):
    with FolderWriter(str(tmp_path / "dest")) as writer:
        with pytest.raises(Denied, match="write n+ to .*: file name too long"):
            writer.write(file("n" * 300), Inline(b""))
        writer.write(Entry("folder", FOLDER, 0o755), None)
        with pytest.raises(Conflict, match="a folder is in its place"):
            writer.write(file("folder"), Inline(b""))
