"""T37: a layer of a few kilobytes that asks for hours, gigabytes or a disk; and large things that are honest."""

from __future__ import annotations

import io
import os
import resource
import time

import pytest

from trimaran.aio import Cancel
from trimaran.errors import Corrupt
from trimaran.store.entries import HARDLINK, EntryList
from trimaran.store.nodes import remove
from trimaran.store.unpack import read_layer
from trimaran.tar import header as tar
from trimaran.tar.header import Header, encode
from trimaran.tar.reader import Limits

SLOW = 60
"""Seconds: what is linear takes one or two, what is quadratic takes minutes."""


def read(headers, limits=None, **options):
    """The layer of these headers, none of which has data, made as it is read."""
    pieces = iter([*map(encode, headers), bytes(1024)])
    waiting = b""

    def take(size):
        nonlocal waiting
        while not waiting:
            waiting = next(pieces, None)
            if waiting is None:
                waiting = b""
                return b""
        data, waiting = waiting[:size], waiting[size:]
        return data

    return read_layer(Cancel(), take, limits=limits, **options)


def folders(count, depth=1):
    return [Header(name="/".join([str(number), *["a"] * depth, "f"])) for number in range(count)]


def comment(size):
    """A PAX header with a record of about that size."""
    record = b"comment=" + b"c" * size + b"\n"
    record = b"%d %b" % (len(record) + 7, record)
    block = bytearray(encode(Header(name="x", size=len(record))))
    block[156:157] = tar.PAX
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    return bytes(block) + record + bytes(-len(record) % 512)


def link(name, target):
    return Header(name=name, type=tar.SYMLINK, link=target)


def test_a_file_of_very_many_names():
    names = [Header(name=f"l{number}", type=tar.HARDLINK, link="f") for number in range(30_000)]
    begun = time.monotonic()
    entries = read([Header(name="f"), *names]).entries
    assert time.monotonic() - begun < SLOW
    assert len(entries) == 30_001
    assert entries.get("l7").kind == HARDLINK
    assert entries.get("l7").target == "f"


def test_very_many_opaque_folders():
    listed = EntryList.of([], [f"d{number}" for number in range(30_000)])
    begun = time.monotonic()
    children = listed.children
    assert time.monotonic() - begun < SLOW
    assert len(children[""]) == 30_000
    assert children["d7"] == []


def test_a_folder_of_many_folders_is_listed_once_to_be_removed(tmp_path, monkeypatch):
    for number in range(200):
        (tmp_path / "d" / str(number) / "inner").mkdir(parents=True)
        (tmp_path / "d" / str(number) / "file").touch()
    listings = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda fd: listings.append(fd) or scandir(fd))
    above = os.open(tmp_path, os.O_RDONLY)
    remove(above, "d")
    os.close(above)
    assert os.listdir(tmp_path) == []
    assert len(listings) == 401, "one for each folder"


def test_removal_of_deep_folders_needs_a_descriptor_for_each_and_no_more(tmp_path):
    above = os.open(tmp_path, os.O_RDONLY)
    at = os.dup(above)
    for _ in range(510):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/proc/self/fd"))  # by tests before this one, too
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 600, limits[1]))
    try:
        remove(above, "d")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(above)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("headers", "limits", "words"),
    [
        pytest.param(folders(30, depth=500), Limits(entries=10_000), "more than 10000 files", id="implied folders"),
        pytest.param(folders(30, depth=500), Limits(text=1 << 20), "more than 1048576 bytes", id="their names"),
        pytest.param(
            [Header(name=f"f{n}", xattrs=(("user.x", b"x" * 60_000),)) for n in range(20)],
            Limits(text=1 << 20),
            "more than 1048576 bytes",
            id="attributes",
        ),
        pytest.param(
            [link(f"l{n}", "x" * 4000) for n in range(300)], Limits(text=1 << 20), "more than 1048576", id="targets"
        ),
        pytest.param(
            [link("a", "/".join(["x" * 200] * 18)), *(Header(name=f"a/.wh.{n}") for n in range(300))],
            Limits(text=1 << 20),
            "more than 1048576 bytes",
            id="deletions through a link to a long name",
        ),
        pytest.param(
            [link("a", "/".join(["x" * 200] * 18)), *(Header(name=f"a/{n}/.wh..wh..opq") for n in range(300))],
            Limits(text=1 << 20),
            "more than 1048576 bytes",
            id="opaque folders through a link to a long name",
        ),
        pytest.param(
            [
                link("l0", "."),
                *(link(f"l{n}", "x/../" * 200 + f"l{n - 1}") for n in range(1, 38)),
                *(Header(name=f"l37/{n}") for n in range(100)),
            ],
            Limits(steps=200_000),
            "too many links",
            id="chains of links",
        ),
        pytest.param(
            [Header(name="d"), Header(name="d/", type=tar.FOLDER)] * 600, Limits(entries=1000), "1000", id="flips"
        ),
    ],
)
def test_what_asks_for_too_much_is_refused_and_named(headers, limits, words):
    with pytest.raises(Corrupt, match=words):
        read(headers, limits)


def test_more_attributes_of_a_file_than_any_file_system_takes():
    with pytest.raises(Corrupt, match="'f': its extended attributes are more than 64 KiB"):
        read([Header(name="f", xattrs=tuple((f"user.{n}", b"x" * 1000) for n in range(100)))])


def test_large_things_that_are_honest(tmp_path):
    """A PAX header of nearly 1 MiB, 60 KiB of attributes, long names, deep folders, a chain of links, many names."""
    attributes = (("user.big", b"x" * 3000), *((f"user.n{n:03}", b"y" * 100) for n in range(5)))
    headers = [
        Header(name="pax", xattrs=attributes),
        Header(name="large", xattrs=tuple((f"trusted.ignored{n}", b"z" * 10_000) for n in range(6))),
        Header(name="/".join(["d" * 7] * 400) + "/f"),
        Header(name="é" * 127),
        link("l0", "."),
        *(link(f"l{n}", f"x/../l{n - 1}") for n in range(1, 38)),
        Header(name="x/", type=tar.FOLDER),
        Header(name="l37/through"),
        *(Header(name=f"n{n}", type=tar.HARDLINK, link="l5/pax") for n in range(2000)),
    ]
    data = b"".join([comment(900_000), *map(encode, headers), bytes(1024)])
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        entries = read_layer(Cancel(), io.BytesIO(data).read, extract_to=fd).entries
    finally:
        os.close(fd)
    assert entries.get("through") is not None
    assert (tmp_path / "n1999").samefile(tmp_path / "pax")
    assert (tmp_path / "/".join(["d" * 7] * 400) / "f").is_file()
