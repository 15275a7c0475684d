from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import Corrupt, Unsupported
from trimaran.tar import header as h
from trimaran.tar.header import Header, encode
from trimaran.tar.reader import Limits, Reader
from trimaran.tar.writer import Writer


def archive(*members, ending=True):
    pieces = []
    writer = Writer(pieces.append)
    for header, data in members:
        writer.add(header)
        writer.write(data) if data else None
    if ending:
        writer.close()
    else:
        writer.flush()
    return b"".join(pieces)


def file(name, data):
    return Header(name=name, size=len(data)), data


def drain(reader):
    while reader.next():
        pass


def record(key, value):
    return h._pax_record(key, value)


def in_steps(data, steps):
    """A read function that gives short pieces, as a socket would."""
    stream = io.BytesIO(data)
    state = list(steps)

    def read(size):
        state.append(state.pop(0))
        return stream.read(min(size, state[-1]))

    return read


@given(
    st.lists(st.binary(max_size=3000), max_size=6),
    st.lists(st.integers(1, 1500), min_size=1, max_size=5),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_any_split_of_the_stream_reads_the_same(contents, steps, wanted):
    data = archive(*(file(f"f{i}", content) for i, content in enumerate(contents)))
    reader = Reader(in_steps(data, steps))
    for i, content in enumerate(contents):
        assert reader.next().name == f"f{i}"
        if wanted[i]:
            assert b"".join(bytes(chunk) for chunk in reader.chunks()) == content
    assert reader.next() is None


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_other_programs(form):
    buffer = io.BytesIO()
    long = "d" * 80 + "/" + "e" * 80
    deep = "/".join(["f" * 60] * 6) if form != tarfile.USTAR_FORMAT else "short"
    with tarfile.open(fileobj=buffer, mode="w", format=form) as out:
        for name in (long, deep):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = 5, 1_600_000_000, "root"
            out.addfile(info, io.BytesIO(b"12345"))
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, deep
        out.addfile(info)
        folder = tarfile.TarInfo("folder")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        out.addfile(folder)
    reader = Reader(io.BytesIO(buffer.getvalue()).read)
    assert reader.next() == Header(name=long, mode=0o644, size=5, mtime=1_600_000_000 * 10**9)
    assert b"".join(bytes(c) for c in reader.chunks()) == b"12345"
    assert reader.next().name == deep
    assert reader.next().link == deep
    last = reader.next()
    assert (last.name, last.type, last.mode) == ("folder/", h.FOLDER, 0o1777)
    assert reader.next() is None


def test_fractions_of_a_second_and_negative_times():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for mtime in (1.5, -3.25):
            info = tarfile.TarInfo("a")
            info.mtime = mtime
            out.addfile(info)
    reader = Reader(io.BytesIO(buffer.getvalue()).read)
    assert [reader.next().mtime, reader.next().mtime] == [1_500_000_000, -3_250_000_000]


def test_end_and_last_padding_may_be_missing_but_not_half_an_entry():
    whole = archive(file("a", b"x" * 700), ending=False)
    reader = Reader(io.BytesIO(whole).read)
    assert reader.next().name == "a"
    assert reader.next() is None
    for cut in (512 + 700, len(whole) - 1):
        drain(Reader(io.BytesIO(whole[:cut]).read))
    for cut in (100, 512, 700, 512 + 699):
        reader = Reader(io.BytesIO(whole[:cut]).read)
        with pytest.raises(Corrupt):
            drain(reader)


def test_global_pax_headers_are_comments():
    comment = bytearray(encode(Header(name="pax_global_header", size=20)))
    comment[156:157] = b"g"
    comment[148:156] = b"%06o\0 " % sum(comment[:148] + b" " * 8 + comment[156:])
    data = bytes(comment) + b"20 comment=12345678\n".ljust(512, b"\0") + archive(file("a", b""))
    assert Reader(io.BytesIO(data).read).next().name == "a"


def special(type_, data, after=b""):
    block = bytearray(encode(Header(name="x", size=len(data))))
    block[156:157] = type_
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    return bytes(block) + data + bytes(-len(data) % 512) + after


def pax(records, after=None):
    return special(b"x", records, archive(file("a", b"")) if after is None else after)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pax(b"4 a=\n"), id="record shorter than it is"),
        pytest.param(pax(b"99999 path=a\n"), id="record longer than the header"),
        pytest.param(pax(b"-9 path=a\n"), id="negative length (CVE-2025-8194's family)"),
        pytest.param(pax(b"0 path=a\n"), id="zero length loops"),
        pytest.param(pax(record(b"size", b"-1")), id="negative size"),
        pytest.param(pax(record(b"size", b"99999999999999999999")), id="size beyond 64 bits"),
        pytest.param(pax(record(b"size", b"9000000000000000000")), id="size beyond the limit"),
        pytest.param(pax(record(b"path", b"a\0b")), id="NUL in a name"),
        pytest.param(pax(record(b"mtime", b"nan")), id="mtime not a number"),
        pytest.param(pax(record(b"uid", b"0x")), id="uid not decimal"),
        pytest.param(pax(b"10 path=a\n", after=b""), id="archive ends after the extended header"),
        pytest.param(special(b"L", b"n" * 5000, archive(file("a", b""))), id="name longer than a path can be"),
        pytest.param(special(b"L", b"n" * 256, archive(file("a", b""))), id="component longer than a name can be"),
        pytest.param(special(b"x", bytes(2 << 20)), id="PAX header of 2 MiB"),
        pytest.param(special(b"x", b"") * 100 + archive(file("a", b"")), id="a chain of extended headers"),
    ],
)
def test_hostile_headers_are_corrupt(data):
    reader = Reader(io.BytesIO(data).read)
    with pytest.raises(Corrupt):
        reader.next()


@pytest.mark.parametrize(
    "data",
    [
        special(b"V", b""),
        special(b"D", b""),
        pax(record(b"GNU.sparse.major", b"1")),
        pax(record(b"GNU.sparse.name", b"real")),
    ],
)
def test_what_is_known_but_not_supported_is_named(data):
    with pytest.raises(Unsupported):
        Reader(io.BytesIO(data).read).next()


def test_the_number_of_entries_is_limited():
    data = archive(*(file("a", b"") for _ in range(4)))
    reader = Reader(io.BytesIO(data).read, Limits(entries=3))
    for _ in range(3):
        reader.next()
    with pytest.raises(Corrupt, match="more than 3"):
        reader.next()


def test_sizes_of_what_has_no_data_are_not_read():
    data = bytearray(archive((Header(name="l", type=h.SYMLINK, link="t"), b""), file("a", b"x")))
    data[124:136] = b"00000001000\0"
    data[148:156] = b"%06o\0 " % sum(data[:148] + b" " * 8 + data[156:512])
    reader = Reader(io.BytesIO(bytes(data)).read)
    assert reader.next().size == 0
    assert reader.next().name == "a"


@given(st.binary(max_size=2000))
def test_noise_is_an_error_and_never_a_crash(noise):
    reader = Reader(io.BytesIO(noise).read)
    try:
        drain(reader)
    except (Corrupt, Unsupported):
        pass


@given(st.integers(0, 1023), st.integers(0, 255))
def test_one_changed_byte_never_crashes(at, value):
    data = bytearray(archive(file("é" * 60, b"x" * 10)))
    data[at] = value
    reader = Reader(io.BytesIO(bytes(data)).read)
    try:
        drain(reader)
    except (Corrupt, Unsupported):
        pass
