from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from trimaran.aio import Cancel
from trimaran.errors import Cancelled, Corrupt
from trimaran.store import encoders as c
from trimaran.store import lanes
from trimaran.store.compression import Compression, kind_of
from trimaran.store.decompression import Bounds, decompress
from trimaran.store.encoders import compressed

KINDS = [
    Compression("gzip"), Compression("gzip", 0), Compression("gzip", 1), Compression("gzip", 9),
    Compression("gzip", portable=True), Compression("zstd"), Compression("zstd", 1), Compression("zstd", 12), Compression("uncompressed"),
]  # fmt: skip


def sample(size, seed=1):
    source = random.Random(seed)
    words = [source.randbytes(source.randint(2, 12)) for _ in range(300)]
    return b"".join(source.choices(words, k=size // 6))[:size]


DATA = sample(5_300_000)


def feed(pieces, write, compression, cancel=None):
    with compressed(cancel or Cancel(), write, compression) as encode:
        for piece in pieces:
            encode(piece)


def packed(compression, data, step=1 << 20):
    out = []
    feed((data[at : at + step] for at in range(0, len(data), step)), out.append, compression)
    return b"".join(out)


def unpacked(data, *, bounds=None, piece=65536, step=None, layer=True):
    stream = io.BytesIO(data)
    read = decompress(lambda size: stream.read(min(size, step or size)), bounds, layer=layer)
    return b"".join(iter(lambda: read(piece), b""))


@pytest.mark.parametrize("compression", KINDS, ids=lambda k: k.identity)
@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, len(DATA)])
def test_what_is_packed_is_unpacked(compression, size):
    assert unpacked(packed(compression, DATA[:size])) == DATA[:size]


def test_other_programs_read_it():
    assert gzip.decompress(packed(Compression("gzip"), DATA)) == DATA
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(packed(Compression("gzip"), DATA)) == DATA
    assert (decoder.eof, decoder.unused_data) == (True, b""), "one member: some readers stop after the first"
    assert zstandard.ZstdDecompressor().stream_reader(packed(Compression("zstd"), DATA)).readall() == DATA


@pytest.mark.parametrize("compression", KINDS, ids=lambda k: k.identity)
def test_bytes_do_not_depend_on_how_it_was_written_nor_on_threads(compression, monkeypatch):
    expected = packed(compression, DATA)
    assert packed(compression, DATA, 333_333) == expected
    assert packed(compression, DATA, len(DATA)) == expected
    for threads in (1, 5):
        for module in (c, lanes):
            monkeypatch.setattr(module, "THREADS", threads)
        monkeypatch.setattr(lanes, "_pool", None)
        assert packed(compression, DATA, 100_000) == expected


def test_the_encoder_is_pinned():
    """A change here needs a new identity: blobs of the same content are found again by it."""
    pins = {
        "gzip-isal-2/2": "ebcf06126c5e42998400c74013ec8cd2e21dbc99e50a898f7437eae2bb70e79d",
        "gzip-isal-2/1": "191c1c37d734bc580d4695b09e8420c98949219203d22e5a1f9f8f5635e8724b",
    }
    for level, identity in ((None, "gzip-isal-2/2"), (3, "gzip-isal-2/1")):
        compression = Compression("gzip", level)
        assert compression.identity == identity
        assert hashlib.sha256(packed(compression, DATA)).hexdigest() == pins[identity]
    zstd = Compression("zstd").identity
    assert zstd == f"zstd-{'.'.join(map(str, zstandard.ZSTD_VERSION))}-2/3", "another libzstd is another encoder"
    pin = {"zstd-1.5.7-2/3": "84def451d695058ab10b0025c8987c9ff3d29b16c6d23cecc9587cf004ba571f"}
    made = hashlib.sha256(packed(Compression("zstd"), DATA)).hexdigest()
    assert pin.get(zstd, made) == made


def test_what_does_not_get_smaller_is_stored():
    noise = random.Random(1).randbytes(3 << 20)
    data = packed(Compression("gzip"), noise)
    assert len(data) < len(noise) * 1.0002
    assert gzip.decompress(data) == unpacked(data) == noise
    assert hashlib.sha256(data).hexdigest() == "1b902bd582f3f255df7a09f617ff45c98c2145d535c69732b9a5ccebd7ba61ff"


def test_a_block_with_something_to_gain_is_compressed():
    """One sample in four is enough."""
    mixed = bytearray(random.Random(2).randbytes(1 << 20))
    mixed[3 << 18 :] = bytes(1 << 18)
    assert len(packed(Compression("gzip"), bytes(mixed))) < len(mixed) * 0.8


def test_without_isal_zlib_serves_under_another_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    assert Compression("gzip").identity == "gzip-zlib-2/6"
    data = packed(Compression("gzip"), DATA[:1_500_000])
    assert gzip.decompress(data) == DATA[:1_500_000]
    assert unpacked(data) == DATA[:1_500_000]


ZSTD = {
    "plain": {},
    "with checksum": {"write_checksum": True},
    "of unknown size": {"write_content_size": False},
    "level 19": {"level": 19},
}


def in_zstd(data, **options):
    """One frame, with a skippable one behind it."""
    return zstandard.ZstdCompressor(**options).compress(data) + b"\x5a\x2a\x4d\x18\x03\0\0\0abc"


PACKERS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    **{f"zstd {name}": partial(in_zstd, **options) for name, options in ZSTD.items()},
}


@pytest.mark.parametrize("kind", PACKERS)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 50), st.integers(1, 100))
def test_members_in_a_row_and_any_piece_size(kind, contents, step, piece):
    """As parallel compressors write them."""
    data = b"".join(PACKERS[kind](x) for x in contents) + (b"" if "zstd" in kind else bytes(8))
    assert unpacked(data, step=step, piece=piece, layer=False) == b"".join(contents)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_damage_is_corrupt(kind):
    data = packed(Compression(kind), DATA[:2_000_000])
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0x55
    with pytest.raises(Corrupt):
        unpacked(bytes(damaged))
    with pytest.raises(Corrupt):
        unpacked(data + b"rubbish")


@pytest.mark.parametrize("kind", PACKERS)
def test_what_ends_early_is_corrupt(kind):
    data = PACKERS[kind](DATA[:300_000])
    for cut in (10, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(Corrupt):
            unpacked(data[:cut], layer=False)


def test_what_is_cut_between_blocks_is_corrupt_too():
    """CVE-2021-20291's family: neither a wait without end nor half of the data for all of it."""
    frame = zstandard.ZstdCompressor().compress(random.Random(1).randbytes(1 << 20))
    with pytest.raises(Corrupt, match="too early"):
        unpacked(frame[: 9 + 3 + (1 << 17)])


def test_gzip_that_ends_early_is_corrupt():
    data = packed(Compression("gzip"), DATA[:2_000_000])
    for cut in (5, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(Corrupt):
            unpacked(data[:cut])
    broken = bytearray(data)
    broken[-5] ^= 1
    with pytest.raises(Corrupt):
        unpacked(bytes(broken))


def test_bombs_are_stopped_and_zeros_are_no_bomb():
    zeros, same = bytes(12 << 20), b"s" * (12 << 20)
    small = Bounds(ratio=2000, free=1 << 20)
    assert unpacked(packed(Compression("gzip"), same), bounds=small) == same
    assert unpacked(packed(Compression("zstd"), zeros), bounds=small) == zeros
    few = bytearray(zeros)
    few[:: 4 << 20] = b"end"
    assert unpacked(packed(Compression("zstd"), few), bounds=Bounds(ratio=2000, free=4 << 20)) == few, "a sparse file"
    for bomb, bounds in (
        (packed(Compression("zstd", 19), same), small),
        (packed(Compression("zstd", 19), zeros), Bounds(ratio=2000, free=1 << 20, zeros=8 << 20)),
        (packed(Compression("zstd", 19), b"".join([zeros[: 1 << 16], b"s"] * 160)), small),
        (gzip.compress(zeros), Bounds(size=8 << 20)),
    ):
        with pytest.raises(Corrupt, match="bomb"):
            unpacked(bomb, bounds=bounds)


def test_what_we_make_of_a_sparse_file_of_gigabytes_is_no_bomb():
    """By the numbers alone, with what zstd and gzip make of zeros: 5 GiB of them, and what an honest disk image has."""
    bounds = Bounds()
    for ratio in (1030, 16_000, 32_000):
        assert bounds.allow((5 << 30) // ratio, 5 << 30, 1 << 20)
        assert bounds.allow((60 << 30) // ratio + (100 << 20), 60 << 30, 200 << 20)
        assert bounds.allow((4 << 30) // ratio, 4 << 30, 4 << 30)
    assert bounds.allow((100 << 30) // 1030, 100 << 30, 100 << 30)
    assert not bounds.allow((5 << 30) // 16_000, 5 << 30, 5 << 30)
    assert not bounds.allow((70 << 30) // 16_000, 70 << 30, 0)
    assert not bounds.allow(2 << 30, 2 << 40, 0)


@pytest.mark.parametrize("kind", ["bzip2", "xz"])
def test_bombs_in_archives_that_are_no_layers(kind):
    same = b"s" * (10 << 20)
    data = PACKERS[kind](same)
    assert unpacked(data, layer=False) == same
    zeros = bytes(10 << 20)
    bounds = Bounds(ratio=2000, free=1 << 20)
    assert unpacked(PACKERS[kind](zeros), bounds=bounds, layer=False) == zeros, "a large file of zeros is none"
    with pytest.raises(Corrupt, match="bomb"):
        unpacked(data, bounds=bounds, layer=False)
    with pytest.raises(Corrupt, match="bomb"):
        unpacked(data, bounds=Bounds(size=8 << 20), layer=False)
    read = decompress(io.BytesIO(data).read, layer=False)
    assert len(read(1000)) <= 1000


def test_a_dictionary_that_eats_memory_is_refused():
    data = bytearray(lzma.compress(b"x" * 100, preset=0))
    assert unpacked(bytes(data), layer=False) == b"x" * 100
    at = data.index(b"\x21\x01", 12) + 2  # the filter's id and how long its properties are
    data[at] = 38  # a dictionary of 2 GiB (xz file format, 5.3.1)
    header = 12 + 4 * (data[12] + 1)
    data[header - 4 : header] = zlib.crc32(data[12 : header - 4]).to_bytes(4, "little")
    with pytest.raises(Corrupt, match="(?i)memory"):
        unpacked(bytes(data), layer=False)


def test_names_of_plain_archives_that_only_look_compressed():
    for name in (b"BZh91", b"BZh", b"BZhistory"):
        assert unpacked(name.ljust(1024, b"\0"), layer=False) == name.ljust(1024, b"\0")
    for empty in (bz2.compress(b""), lzma.compress(b"")):
        assert unpacked(empty, layer=False) == b""


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_one_read_never_gives_more_than_asked(kind):
    read = decompress(io.BytesIO(packed(Compression(kind), bytes(20 << 20))).read)
    assert len(read(1000)) <= 1000


def test_windows_that_eat_memory_are_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=28, compression_level=1)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(Corrupt):
        unpacked(data.compress(b"x" * 100) + data.flush())


def test_plain_bytes_pass():
    assert unpacked(b"") == b""
    assert unpacked(b"\x1f") == b"\x1f"
    assert unpacked(b"plain") == b"plain"


def test_cancelled_work_stops():
    cancel = Cancel()

    def pieces():
        yield DATA
        cancel.set()
        yield DATA

    with pytest.raises(Cancelled):
        feed(pieces(), lambda data: None, Compression("gzip"), cancel)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_many_layers_at_once_share_the_memory_for_blocks(kind, monkeypatch):
    """With room for fewer blocks than there are layers nobody waits for ever, and all is given back, also by failures."""
    blocks, encoders = threading.BoundedSemaphore(3), threading.BoundedSemaphore(2)
    monkeypatch.setattr(c, "_blocks", blocks)
    monkeypatch.setattr(c, "_encoders", encoders)
    expected = packed(Compression(kind), DATA)

    def failing(number):
        def write(data):
            raise OSError(number)

        with pytest.raises(OSError):
            feed([DATA] * 20, write, Compression(kind))

    with ThreadPoolExecutor(8) as pool:
        failed = [pool.submit(failing, number) for number in range(4)]
        made = [pool.submit(packed, Compression(kind), DATA) for _ in range(8)]
        assert {each.result(60) for each in made} == {expected}
        assert [each.result(60) for each in failed] == [None] * 4
    assert (blocks._value, encoders._value) == (3, 2)


def test_kinds_and_media_types():
    assert Compression("zstd", 0).identity == Compression("zstd").identity != Compression("zstd", 1).identity
    for compression in KINDS:
        assert kind_of(compression.media_type()) == compression.kind
        assert kind_of(compression.media_type(docker=True)) == compression.kind
    assert Compression("gzip").media_type() == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert Compression("gzip").media_type(docker=True) == "application/vnd.docker.image.rootfs.diff.tar.gzip"
