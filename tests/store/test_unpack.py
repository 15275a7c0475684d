from __future__ import annotations

import io
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Cancelled, Corrupt, TrimaranError, Unavailable
from trimaran.store.entries import (
    BLOCK,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    HARDLINK,
    SYMLINK,
    WHITEOUT,
    EntryList,
    implied,
)
from trimaran.store.folder import Folder, FolderFile, hash_files
from trimaran.store.nodes import remove
from trimaran.store.render import fill_digests
from trimaran.store.unpack import read_layer
from trimaran.store.upper import read_upper
from trimaran.tar import header as tar
from trimaran.tar.header import Header
from trimaran.tar.writer import Writer

CORPUS = Path(__file__).parent.parent / "corpus" / "hostile"
CASES = sorted(path.name for path in CORPUS.iterdir())
TYPES = {
    "file": tar.FILE, "folder": tar.FOLDER, "symlink": tar.SYMLINK, "hardlink": tar.HARDLINK,
    "character": tar.CHARACTER, "block": tar.BLOCK, "fifo": tar.FIFO,
}  # fmt: skip


def archive(members):
    pieces = []
    writer = Writer(pieces.append)
    for member in members:
        data = member.get("data", "").encode()
        writer.add(
            Header(
                name=member["name"], type=TYPES[member.get("type", "file")], link=member.get("link", ""),
                mode=int(member.get("mode", "0755"), 8), uid=member.get("uid", 0), gid=member.get("gid", 0),
                size=len(data), mtime=member.get("mtime", 1_600_000_000) * 10**9,
                major=member.get("major", 0), minor=member.get("minor", 0),
                xattrs=tuple((k, v.encode()) for k, v in sorted(member.get("xattrs", {}).items())),
            )
        )  # fmt: skip
        writer.write(data) if data else None
    writer.close()
    return b"".join(pieces)


def case(name):
    read = json.loads((CORPUS / name / "case.json").read_text())
    contents = {Digest.of(m["data"].encode()): m["data"] for m in read["archive"] if "data" in m}
    contents[Digest.of(b"")] = ""
    return archive(read["archive"]), read["expect"], contents


def shown(entry, contents):
    if entry.kind == FILE:
        return contents[entry.digest]
    return {
        FOLDER: "/", SYMLINK: f"-> {entry.target}", HARDLINK: f"= {entry.target}", WHITEOUT: "gone", FIFO: "fifo",
        CHARACTER: f"char {entry.major}:{entry.minor}", BLOCK: f"block {entry.major}:{entry.minor}",
    }[entry.kind]  # fmt: skip


def check(entries, expect, contents):
    assert {e.path: shown(e, contents) for e in entries} == expect["paths"]
    assert list(entries.opaque) == expect.get("opaque", [])
    for path, mode in expect.get("modes", {}).items():
        assert entries.get(path).mode == int(mode, 8)
    for path, names in expect.get("xattrs", {}).items():
        assert [name for name, _ in entries.get(path).xattrs] == names
    for path, time in expect.get("times", {}).items():
        assert entries.get(path).mtime == time * 10**9


@pytest.mark.parametrize("name", CASES)
def test_hostile_archives_are_listed_or_refused(name):
    data, expect, contents = case(name)
    if "error" in expect:
        with pytest.raises(Corrupt):
            read_layer(Cancel(), io.BytesIO(data).read)
        return
    unpacked = read_layer(Cancel(), io.BytesIO(data).read)
    check(unpacked.entries, expect, contents)
    assert unpacked.diff_id == Digest.of(data)
    assert EntryList.of(unpacked.entries, unpacked.entries.opaque) == unpacked.entries


def on_disk(fd):
    """The snapshot as a list, with the digests of what the files hold."""
    found = read_upper(Cancel(), fd, user_xattrs=False)
    with Folder("snapshot", os.dup(fd)) as folder:
        files = {e.path: FolderFile(folder, e.path) for e in found if e.kind == FILE}
        return fill_digests(found, hash_files(Cancel(), files))


def comparable(entries):
    """Implied folders listed, and without the xattrs that no commit keeps."""
    have = {e.path for e in entries}
    missing = [implied(path) for path in {"", *entries.children} if path not in have]
    bare = [
        type(e)(e.path, e.kind, e.mode, e.uid, e.gid, e.mtime, e.size, e.target, e.major, e.minor, (), e.digest)
        for e in entries
    ]
    return EntryList.of([*bare, *missing], entries.opaque)


def state(path):
    status = os.lstat(path)
    return (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_nlink)


@pytest.mark.root
@pytest.mark.parametrize("name", CASES)
def test_hostile_archives_stay_in_their_folder(name, tmp_path):
    data, expect, _ = case(name)
    os.mkdir(tmp_path / "inside")
    (tmp_path / "victim").write_bytes(b"secret")
    watched = [tmp_path / "victim", Path("/etc/passwd"), Path("/etc")]
    before = [state(path) for path in watched]
    fd = os.open(tmp_path / "inside", os.O_RDONLY | os.O_DIRECTORY)
    try:
        if "error" in expect:
            with pytest.raises(Corrupt):
                read_layer(Cancel(), io.BytesIO(data).read, extract_to=fd)
        else:
            unpacked = read_layer(Cancel(), io.BytesIO(data).read, extract_to=fd)
            assert unpacked.skipped == ()
            assert comparable(on_disk(fd)) == comparable(unpacked.entries)
    finally:
        os.close(fd)
    assert [state(path) for path in watched] == before
    assert sorted(os.listdir(tmp_path)) == ["inside", "victim"]


NAMES = st.sampled_from(["a", "b", "a/b", "b/a", "a/b/c", "b/c", "c", "a/a", "c/a/b", "./", "/a", "..a"])
MEMBERS = st.lists(
    st.fixed_dictionaries({"name": NAMES, "type": st.just("file"), "data": st.sampled_from(["", "x", "yy"])})
    | st.fixed_dictionaries({"name": NAMES, "type": st.sampled_from(["folder", "folder", "fifo"]), "mode": st.sampled_from(["0755", "0700"])})
    | st.fixed_dictionaries({"name": NAMES, "type": st.just("symlink"), "link": st.sampled_from(["a", "/", "..", "../b", "/a/b", "b/c", "c"])})
    | st.fixed_dictionaries({"name": NAMES, "type": st.just("hardlink"), "link": NAMES})
    | st.fixed_dictionaries({"name": st.sampled_from([".wh.a", ".wh.b", "a/.wh.b", "b/.wh.c", ".wh..wh..opq", "a/.wh..wh..opq", "c/.wh..wh..opq"])}),
    max_size=10,
)  # fmt: skip


@pytest.mark.root
@settings(
    max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(MEMBERS)
def test_list_and_folder_say_the_same_whatever_the_archive_holds(tmp_path, members):
    data = archive(members)
    try:
        listed = read_layer(Cancel(), io.BytesIO(data).read)
    except Corrupt:
        listed = None
    os.mkdir(tmp_path / "inside")
    fd = os.open(tmp_path / "inside", os.O_RDONLY | os.O_DIRECTORY)
    try:
        if listed is None:
            with pytest.raises(Corrupt):
                read_layer(Cancel(), io.BytesIO(data).read, extract_to=fd)
        else:
            assert read_layer(Cancel(), io.BytesIO(data).read, extract_to=fd) == listed
            assert comparable(on_disk(fd)) == comparable(listed.entries)
    finally:
        os.close(fd)
        above = os.open(tmp_path, os.O_RDONLY)
        remove(above, "inside")
        os.close(above)
    assert os.listdir(tmp_path) == []


def test_an_archive_is_read_to_its_very_end():
    """Bytes after the end blocks belong to the diff id."""
    data = archive([{"name": "a", "data": "x"}]) + bytes(10240)
    unpacked = read_layer(Cancel(), io.BytesIO(data).read)
    assert unpacked.diff_id == Digest.of(data)
    assert unpacked.size == len(data)


def test_cancelling_and_full_disks(monkeypatch, tmp_path):
    data = archive([{"name": "a", "data": "x"}])
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        read_layer(cancel, io.BytesIO(data).read)
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr("trimaran.store.nodes.Nodes.create", lambda *_: os.dup(full))
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(Unavailable, match="(?i)no space left"):
        read_layer(Cancel(), io.BytesIO(data).read, extract_to=fd)
    os.close(fd)
    os.close(full)


@pytest.mark.root
def test_devices_that_may_not_be_made_are_named(tmp_path, monkeypatch):
    real = os.mknod

    def refusing(name, mode, device=0, **options):
        if stat.S_ISCHR(mode) and device:
            raise PermissionError(1, "Operation not permitted")
        real(name, mode, device, **options)

    monkeypatch.setattr(os, "mknod", refusing)
    data = archive(
        [
            {"name": "null", "type": "character", "major": 1, "minor": 3},
            {"name": "same", "type": "hardlink", "link": "null"},
            {"name": "f", "data": "x"},
            {"name": ".wh.g"},
        ]
    )
    fd = os.open(tmp_path, os.O_RDONLY)
    unpacked = read_layer(Cancel(), io.BytesIO(data).read, extract_to=fd)
    os.close(fd)
    assert unpacked.skipped == ("null", "same")
    assert unpacked.entries.get("null").kind == CHARACTER, "the list, and so every blob, still has it"
    assert sorted(os.listdir(tmp_path)) == ["f", "g"]


@pytest.mark.root
def test_a_folder_that_is_swapped_for_a_link_while_it_is_filled(tmp_path):
    """T34, CVE-2021-32760 and CVE-2025-47290: owner, mode, time and attributes are set on what was made, nothing else."""
    victim = tmp_path / "victim"
    victim.mkdir()
    for number in range(60):
        (victim / f"f{number}").write_bytes(b"secret")
    before = {path.name: state(path) for path in (victim, *victim.iterdir())}
    members = [{"name": "d/", "type": "folder", "mode": "0700", "uid": 7}]
    for number in range(60):
        made = {"name": f"d/f{number}", "mode": "06777", "uid": 7, "gid": 8, "mtime": 5, "xattrs": {"user.x": "y"}}
        members += [{**made, "data": "x"}, {"name": f"d/l{number}", "type": "hardlink", "link": f"d/f{number}"}]
        members += [{"name": f"d/p{number}", "type": "fifo", "mode": "0777", "uid": 7}]
    data = archive(members)
    over = threading.Event()
    inside = tmp_path / "inside"

    def swap():
        while not over.is_set():
            try:
                os.rename(inside / "d", tmp_path / "aside")
                os.symlink(victim, inside / "d")
                os.unlink(inside / "d")
                os.rename(tmp_path / "aside", inside / "d")
            except OSError:
                continue

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(3):
            inside.mkdir()
            fd = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
            try:
                read_layer(Cancel(), io.BytesIO(data).read, extract_to=fd)
            except TrimaranError:
                pass
            finally:
                os.close(fd)
            inside.rename(tmp_path / f"done-{os.urandom(4).hex()}")
    finally:
        over.set()
        swapper.join()
    assert {path.name: state(path) for path in (victim, *victim.iterdir())} == before
