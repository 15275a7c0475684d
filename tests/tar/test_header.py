from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.errors import Corrupt
from trimaran.tar import header as h
from trimaran.tar.header import Header, decode, encode
from trimaran.tar.reader import Reader
from trimaran.tar.writer import Writer

names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=60
) | st.just("n" * 99)  # fmt: skip
paths = st.lists(names, min_size=1, max_size=5).map("/".join) | st.just("\udcff/x")
headers = st.builds(
    Header,
    name=paths,
    type=st.sampled_from([h.FILE, h.SYMLINK, h.HARDLINK, h.FIFO, h.CHARACTER]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**31),
    gid=st.integers(0, 2**31),
    mtime=st.integers(-(2**33), 2**36).map(lambda s: s * 10**9),
    link=paths,
    major=st.integers(0, 4095),
    minor=st.integers(0, 2**20 - 1),
    xattrs=st.lists(st.tuples(names.filter(lambda n: "=" not in n), st.binary(max_size=50)), max_size=2, unique_by=lambda x: x[0])
    .map(sorted).map(tuple),
)  # fmt: skip


def stored(header):
    pieces = []
    writer = Writer(pieces.append)
    writer.add(header)
    writer.close()
    return b"".join(pieces)


@given(headers)
def test_what_is_encoded_is_read_back(header):
    data = stored(header)
    assert len(data) % 512 == 0
    reader = Reader(io.BytesIO(data).read)
    assert reader.next() == header
    assert reader.next() is None


@given(headers)
def test_the_standard_library_reads_the_same(header):
    with tarfile.open(fileobj=io.BytesIO(stored(header)), errors="surrogateescape") as archive:
        (member,) = archive.getmembers()
    assert member.name == header.name.rstrip("/")
    assert (member.mode, member.uid, member.gid) == (header.mode, header.uid, header.gid)
    assert int(member.mtime) * 10**9 == header.mtime
    assert member.linkname.rstrip("/") == header.link.rstrip("/")
    assert (member.devmajor, member.devminor) == (header.major, header.minor)


def test_a_plain_header_is_one_block_as_go_writes_it():
    block = encode(Header(name="etc/passwd", mode=0o644, size=1234, mtime=1_700_000_000_999_999_999))
    assert len(block) == 512
    assert block[:100] == b"etc/passwd".ljust(100, b"\0")
    assert block[100:148] == b"0000644\x000000000\x000000000\x0000000002322\x0014524770400\0"
    assert block[148:156] == b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    assert block[156:157] == b"0"
    assert block[257:265] == b"ustar\x0000"
    assert block[265:329] == bytes(64), "no user and group names"
    assert block[329:345] == b"0000000\x000000000\0"
    assert block[345:] == bytes(167)


def test_a_long_name_is_split_where_it_can_be_and_recorded_where_it_cannot():
    folder = "d" * 90
    split = encode(Header(name=f"{folder}/{folder}"))
    assert len(split) == 512
    assert split[345:500].rstrip(b"\0") == folder.encode()
    assert split[:100].rstrip(b"\0") == folder.encode()
    recorded = encode(Header(name="n" * 101))
    assert len(recorded) == 3 * 512
    assert recorded[156:157] == b"x"
    assert recorded[:100].rstrip(b"\0") == b"PaxHeaders.0/" + b"n" * 87
    assert recorded[512:].startswith(b"111 path=" + b"n" * 101 + b"\n")
    assert recorded[1024:1124] == b"n" * 100


def test_records_are_sorted_and_count_their_own_digits():
    block = encode(Header(name="a/ü", uid=3_000_000, xattrs=(("security.capability", b"\1\0\n"),)))
    data = block[512 : 512 + int(block[124:135], 8)]
    assert data == b"40 SCHILY.xattr.security.capability=\1\0\n\n" + b"13 path=a/\xc3\xbc\n" + b"15 uid=3000000\n"
    assert block[1024:1126].startswith(b"a/\0"), "only the ASCII part stands in the fixed field"


@pytest.mark.parametrize("length", range(80, 110))
def test_lengths_of_records_are_right_around_a_digit_more(length):
    header = Header(name="é" * (length // 2) + "x" * (length % 2))
    assert Reader(io.BytesIO(encode(header)).read).next() == header


def test_damaged_blocks_are_corrupt():
    block = bytearray(encode(Header(name="a")))
    block[3] ^= 1
    with pytest.raises(Corrupt, match="checksum"):
        decode(bytes(block))
    with pytest.raises(Corrupt):
        decode(b"not a tar archive".ljust(512, b"x"))


def test_signed_checksums_of_old_programs_are_taken():
    block = bytearray(encode(Header(name="a")))
    block[0:1] = b"\xe9"
    block[148:156] = b"%06o\0 " % sum(b - 256 if b > 127 else b for b in block[:148] + b" " * 8 + block[156:])
    assert decode(bytes(block)).name == "\udce9"


def with_field(start, field, **fields):
    block = bytearray(encode(Header(name="a", **fields)))
    block[start : start + len(field)] = field
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    return bytes(block)


def test_numbers_in_base_256():
    assert decode(with_field(124, b"\x80" + (10 << 30).to_bytes(11, "big"))).size == 10 << 30
    assert decode(with_field(136, b"\xff" * 11 + b"\xfe")).mtime == -2 * 10**9
    for field in (b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-0000001\0", b"00000008\0"):
        with pytest.raises(Corrupt):
            decode(with_field(124, field))


def test_numbers_framed_by_spaces_and_empty_ones():
    assert decode(with_field(100, b"   755 \0")).mode == 0o755
    assert decode(with_field(108, b"\0" * 8)).uid == 0


def test_old_archives_mark_folders_by_a_slash_only():
    block = bytearray(encode(Header(name="folder/")))
    block[156:157] = b"\0"
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    assert decode(bytes(block)).type == h.FOLDER


def test_headers_are_those_of_go():
    """go.tar.gz was written by umoci 0.4.7 (Go's archive/tar): long, split and non-ASCII names, large ids, times before
    1970, a capability, devices, links. Its last padding is missing, as Go's readers allow.
    """
    data = gzip.decompress((Path(__file__).parent / "go.tar.gz").read_bytes())
    stream = io.BytesIO(data)
    reader = Reader(lambda size: stream.read(min(size, 512)))
    count = 0
    while True:
        for _ in reader.chunks():
            pass
        start = stream.tell()
        header = reader.next()
        if header is None:
            break
        assert data[start : stream.tell()] == encode(header), header.name
        count += 1
    assert count == 17
