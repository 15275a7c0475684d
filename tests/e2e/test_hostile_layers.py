"""T37, T38: layers that ask for more than they are worth, lie about themselves or delete what is none of theirs."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard
from stage import hostile
from stage.contexts import Context
from stage.hostile import Layer, archive, folder, link, plain, untouched
from stage.measuring import measured, peak_of
from stage.program import Trimaran

from trimaran.tar.header import Header, encode
from trimaran.testing.registry import FaultyRegistry

PROMPT = 120
"""Seconds in which a bomb is refused, on a busy machine too; none of them would end in an hour if it were not."""
MEMORY = 1 << 30
"""Bytes that the engine may hold at most meanwhile."""
CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
"""cap_net_bind_service+ep, as a file has it (version 2)."""


def tar_of(headers: Iterable[Header]) -> bytes:
    return b"".join(map(encode, headers)) + bytes(1024)


def implied() -> Layer:
    """3 MB of names imply 600,000 folders, whose names are 300 MB."""
    return Layer.of(tar_of(Header(name=f"{number}/" + "a/" * 500 + "f") for number in range(1200)))


def attributes() -> Layer:
    """Files of 60 KB of attributes each."""
    xattrs = (("user.x", b"x" * 60_000),)
    return Layer.of(tar_of(Header(name=f"f{number}", xattrs=xattrs) for number in range(5000)))


def too_many_attributes() -> Layer:
    xattrs = tuple((f"user.{number}", b"x" * 500) for number in range(200))
    return Layer.of(tar_of([Header(name="f", xattrs=xattrs)]))


def long_header() -> Layer:
    """A PAX header of 2 MiB."""
    block = bytearray(encode(Header(name="x", size=2 << 20)))
    block[156:157] = b"x"
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    return Layer.of(bytes(block) + bytes(2 << 20) + bytes(1024))


def deep() -> Layer:
    return Layer.of(tar_of([Header(name="a/" * 2000 + "f")]))


def long_name() -> Layer:
    return Layer.of(tar_of([Header(name="n" * 300)]))


def negative() -> Layer:
    """CVE-2025-8194: an offset that leads back."""
    block = bytearray(encode(Header(name="x")))
    block[124:136] = b"\xff" * 11 + b"\0"
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    return Layer.of(bytes(block) + bytes(1024))


def window() -> Layer:
    """zstd that wants 256 MiB to look back."""
    parameters = zstandard.ZstdCompressionParameters(window_log=28, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    tar = tar_of([Header(name="f")])
    blob = packer.compress(tar) + packer.flush()
    return Layer(blob, "sha256:" + hashlib.sha256(tar).hexdigest(), hostile.OCI_LAYER.replace("gzip", "zstd"))


def longer_than_said() -> Layer:
    layer = Layer.of(tar_of([Header(name="f")]))
    return layer._replace(blob=layer.blob + bytes(5000), size=len(layer.blob))


def shorter_than_said() -> Layer:
    layer = Layer.of(tar_of([Header(name="f")]))
    return layer._replace(size=len(layer.blob) + 4096)


def other_content() -> Layer:
    return Layer.of(tar_of([Header(name="f")]))._replace(diff_id="sha256:" + "1" * 64)


BOMBS = {
    implied: "more than 268435456 bytes",
    attributes: "more than 268435456 bytes",
    too_many_attributes: "'f': its extended attributes are more than 64 KiB",
    long_header: "an extended header of 2097152 bytes",
    deep: "too deep",
    long_name: "no file system takes a name of that length",
    negative: "size is",
    window: "(?i)memory|window",
    longer_than_said: "more than|bytes",
    shorter_than_said: "bytes",
    other_content: "its content is sha256:[0-9a-f]+, the image says sha256:1111",
}


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_bombs_in_a_base_image(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, bomb: Callable[[], Layer]
) -> None:
    layer = bomb()
    assert len(layer.blob) < 1 << 22
    base = hostile.image_of(faulty, "bomb", layer)
    context.dockerfile(f"FROM {base}\nRUN true\n")
    begun = time.monotonic()
    said = measured(trimaran, context)("build", "--progress=plain", ".", cwd=context.folder, exit_code=1).stderr
    assert time.monotonic() - begun < PROMPT
    assert peak_of(context) < MEMORY
    assert "Traceback" not in said
    assert re.search(BOMBS[bomb], said.rpartition("\nERROR: ")[2]), said
    assert list((trimaran.root / "temp").iterdir()) == [], "nothing is left"
    assert list((trimaran.root / "snapshots").iterdir()) == []
    digest = hashlib.sha256(layer.blob).hexdigest()
    assert not (trimaran.root / "blobs/sha256" / digest).exists()


@pytest.mark.parametrize("kind", ["base", "xz", "context"])
def test_a_bomb_stops_at_the_cache_limit(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, kind: str
) -> None:
    """512 MiB of one letter that come as a few kilobytes: what the person allowed is all that is ever taken."""
    pieces = [encode(Header(name="letters", size=512 << 20)), *[b"s" * (1 << 20)] * 512]
    if kind == "base":
        packer = zstandard.ZstdCompressor().compressobj()
        hasher = hashlib.sha256()
        for piece in pieces:
            hasher.update(piece)
        blob = b"".join([*map(packer.compress, pieces), packer.flush()])
        layer = Layer(blob, f"sha256:{hasher.hexdigest()}", hostile.OCI_LAYER.replace("gzip", "zstd"))
        text = f"FROM {hostile.image_of(faulty, 'bomb', layer)}\nRUN true\n"
    else:
        pack = lzma.LZMACompressor(preset=0)
        blob = b"".join([*map(pack.compress, pieces), pack.flush()])
        text = "FROM scratch\nADD bomb /\n"
    assert len(blob) < 1 << 20
    context.write("bomb", blob)
    context.dockerfile(text)
    words = ("build", "--progress=plain", "--cache-limit=60MB")
    if kind == "context":
        done = subprocess.run(
            [*trimaran.command, *words, "-"], input=blob, env=trimaran.environment, capture_output=True, check=False
        )
        code, said = done.returncode, done.stderr.decode()
    else:
        ended = trimaran(*words, ".", cwd=context.folder, exit_code=None)
        code, said = ended.returncode, ended.stderr
    assert code == 1
    assert "the cache limit of 62.91MB is reached" in said.rpartition("\nERROR: ")[2], said
    taken = int(subprocess.run(["du", "-sk", trimaran.root], capture_output=True, check=True).stdout.split()[0])
    assert taken < 60 << 10
    assert list((trimaran.root / "temp").iterdir()) == []


def test_what_is_much_larger_unpacked_must_work(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """Zeros by the megabyte (1:1000 by gzip, 1:10,000 by zstd and xz), a large sparse file of a context, some of GNU tar's."""
    zeros = bytes(60 << 20)
    tar = archive((plain("zeros"), zeros))
    diff_id = "sha256:" + hashlib.sha256(tar).hexdigest()
    by_zstd = Layer(zstandard.compress(tar), diff_id, hostile.OCI_LAYER.replace("gzip", "zstd"))
    base = hostile.image_of(faulty, "zeros", Layer(gzip.compress(tar), diff_id))
    other = hostile.image_of(faulty, "zeros2", by_zstd)
    with (context / "sparse").open("wb") as file:
        file.truncate(60 << 20)
    context.write("more.tar.xz", lzma.compress(archive((plain("more"), zeros)), preset=0))
    text = f"FROM {other} AS other\nRUN test $(stat -c %s /zeros) = {60 << 20}\nFROM {base}\nCOPY sparse /\n"
    context.dockerfile(
        text + "ADD more.tar.xz /\nCOPY --from=other /zeros /again\nRUN cmp /zeros /sparse && cmp /more /again\n"
        "ADD pax-1.0.tar.gz /one\nADD gnu-0.0.tar.gz /old\nRUN cmp /one/sp /old/sp && test $(stat -c %s /one/sp) = 8388608\n"
    )
    for name in ("pax-1.0.tar.gz", "gnu-0.0.tar.gz"):
        context.write(name, (Path(__file__).parents[1] / "tar/sparse" / name).read_bytes())
    trimaran("build", ".", cwd=context.folder)


def test_large_attributes_and_headers_must_work(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, tmp_path: Path
) -> None:
    """Set-id bits, file capabilities, attributes of users, a PAX header of 900 KB: kept, and in the tar that comes out."""
    entry = plain("tool", 0o6755)
    entry.pax_headers = {
        "comment": "c" * 900_000,
        "SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1"),
        "SCHILY.xattr.user.note": "n" * 3000,
    }
    base = hostile.image_of(faulty, "honest", Layer.of(archive((entry, b"x"))))
    context.dockerfile(f"FROM {base}\nRUN test -u /tool && test -g /tool && cp -p /tool /copy\n")
    trimaran("build", "-o", f"type=tar,dest={tmp_path}/out.tar", ".", cwd=context.folder)
    with tarfile.open(tmp_path / "out.tar", encoding="latin-1") as tar:
        found = tar.getmember("tool")
    assert found.mode == 0o6755
    assert found.pax_headers["SCHILY.xattr.user.note"] == "n" * 3000
    assert found.pax_headers["SCHILY.xattr.security.capability"].encode("latin-1") == CAPABILITY


def test_a_config_of_5_mb_must_work(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    base = hostile.image(faulty, "wordy")
    media_type, raw = faulty.manifests["wordy", "latest"]
    manifest = json.loads(raw)
    config = json.loads(faulty.blobs["wordy", manifest["config"]["digest"]])
    config["config"]["Labels"] = {f"label{number}": "x" * 50_000 for number in range(100)}
    raw = json.dumps(config).encode()
    manifest["config"] |= {"digest": faulty.put_blob("wordy", raw), "size": len(raw)}
    faulty.put_manifest("wordy", "latest", media_type, json.dumps(manifest).encode())
    context.dockerfile(f"FROM {base}\nRUN true\n")
    trimaran("build", "--cache-to=type=inline", "-t", "app", ".", cwd=context.folder)
    labels = json.loads(trimaran("imagetools", "inspect", base, "--format", "{{json .Image}}").stdout)
    assert len(labels["config"]["Labels"]) == 100


# -- T38 ------------------------------------------------------------------------------------------------------------


def test_deletions_of_mount_points_and_of_what_we_put_there(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context
) -> None:
    """A layer that deletes /proc, /dev, /etc/hosts and hides /sys, and one that flips them to files and links."""
    whiteouts = [plain(name) for name in (".wh.proc", ".wh.dev", "etc/.wh.hosts", "sys/.wh..wh..opq", ".wh.run")]
    host = untouched(Path("/etc"))
    base = hostile.image(faulty, "deleted", *whiteouts)
    text = f"FROM {base}\nRUN test -e /proc/self && test -c /dev/null && grep -q localhost /etc/hosts && test -d /sys/kernel\n"
    context.dockerfile(text + "RUN --mount=type=tmpfs,target=/run/deep touch /run/deep/x\n")
    trimaran("build", ".", cwd=context.folder)
    base = hostile.image(faulty, "flipped", plain("proc"), plain("sys"), link("dev", "/proc"), plain("etc/hosts"))
    context.dockerfile(f"FROM {base}\nRUN true\n")
    said = trimaran("build", ".", cwd=context.folder, exit_code=None).stderr
    assert "Traceback" not in said
    host()


def test_devices_of_a_layer_are_kept_and_not_opened(
    either: Trimaran, faulty: FaultyRegistry, context: Context, tmp_path: Path
) -> None:
    """The disk of this machine as a node of an image; /dev/null elsewhere stays what it is."""
    disk, null, deletion = plain("disk", 0o666), plain("null", 0o666), plain("gone", 0o666)
    disk.type, null.type, deletion.type = tarfile.BLKTYPE, tarfile.CHRTYPE, tarfile.CHRTYPE
    status = os.stat(os.path.realpath("/dev"))
    disk.devmajor, disk.devminor = os.major(status.st_dev) or 8, 0
    null.devmajor, null.devminor = 1, 3
    base = hostile.image(faulty, "devices", disk, null)
    context.dockerfile(f"FROM {base} AS base\nRUN ! head -c 1 /disk\nFROM scratch\nCOPY --from=base /null /disk /\n")
    archive_path = either.home / "out.tar"
    either("build", "-o", f"type=tar,dest={archive_path}", ".", cwd=context.folder)
    with tarfile.open(archive_path) as tar:
        assert {each.name: (each.type, each.devmajor, each.devminor) for each in tar} == {
            "disk": (tarfile.BLKTYPE, disk.devmajor, 0),
            "null": (tarfile.CHRTYPE, 1, 3),
        }
    deletion.devmajor = deletion.devminor = 0
    base = hostile.image(faulty, "deletion", deletion)
    context.dockerfile(f"FROM {base}\nRUN true\n")
    said = either("build", ".", cwd=context.folder, exit_code=1).stderr
    assert "'gone': no such device as 0:0" in said.rpartition("\nERROR: ")[2]


def test_duplicates_flips_and_names_of_other_case(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """The last of a name counts, in the list and on disk; an image may tell large from small letters."""
    members = [
        (plain("twice"), b"first"), (plain("twice"), b"second"),
        (folder("flip"), b""), (plain("flip/in"), b"x"), (plain("flip"), b"a file"),
        (plain("flop"), b"a file"), (folder("flop"), b""), (plain("flop/in"), b"inside"),
        (link("linked", "twice"), b""), (plain("linked"), b"own"),
        (plain("Case"), b"large"), (plain("case"), b"small"),
    ]  # fmt: skip
    base = hostile.image_of(faulty, "odd", Layer.of(archive(*members)))
    wanted = {
        "twice": "second",
        "flip": "a file",
        "flop/in": "inside",
        "linked": "own",
        "Case": "large",
        "case": "small",
    }
    checks = " && ".join(f"test \"$(cat /{name})\" = '{content}'" for name, content in wanted.items())
    context.dockerfile(f"FROM {base}\nRUN {checks}\nFROM {base} AS copied\nCOPY --from=0 / /all/\n")
    dest = trimaran.home / "dest"
    trimaran("build", "-o", str(dest), ".", cwd=context.folder)
    assert {name: (dest / "all" / name).read_text() for name in wanted} == wanted


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq", "folder/.wh.y"])
def test_files_that_would_be_deletions_are_refused_by_name(
    trimaran: Trimaran, bases: str, context: Context, name: str
) -> None:
    """In a context, or made by a step: in the layer they would delete. BuildKit writes them as they are."""
    context.write(name, "x")
    for text in ("FROM scratch\nCOPY . /\n", f"FROM alpine\nRUN mkdir -p /folder && touch /{name}\n"):
        context.dockerfile(text)
        said = trimaran("build", ".", cwd=context.folder, exit_code=1).stderr.rpartition("\nERROR: ")[2]
        assert repr(name)[1:-1] in said
        assert "mean deletions" in said
        assert "rename the file" in said


def test_names_that_only_look_like_deletions_must_work(trimaran: Trimaran, context: Context) -> None:
    """Also what Kubernetes makes of a ConfigMap: `..data` is a link to a folder that begins with two dots."""
    names = (".wh", "..wh.x", "a.wh.b", "wh.x", ".whatever", "..2026_11_28/key", "...", "..data2")
    for name in names:
        context.write(name, name)
    (context / "..data").symlink_to("..2026_11_28")
    (context / "key").symlink_to("..data/key")
    context.dockerfile("FROM scratch\nCOPY . /all/\nCOPY ..data/key /one\nCOPY key /two\n")
    dest = trimaran.home / "dest"
    trimaran("build", "-o", str(dest), ".", cwd=context.folder)
    assert {name: (dest / "all" / name).read_text() for name in names} == {name: name for name in names}
    assert (dest / "all/key").read_text() == (dest / "one").read_text() == (dest / "two").read_text() == names[5]
