"""Layouts and archives that somebody else filled: links, pipes, devices, indexes without end (T32, T37); and odd ones
that are honest."""

import asyncio
import json
import os
import subprocess
import time

import pytest

from trimaran.digest import Digest
from trimaran.errors import Conflict, Corrupt, TrimaranError, UsageError
from trimaran.oci import documents, image_config, media_types
from trimaran.oci import index as indexes
from trimaran.oci.archive import Archive, write_archive
from trimaran.oci.blobs import read_all
from trimaran.oci.copy import content_of, write_blob
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.layout import Layout
from trimaran.oci.validate import validate
from trimaran.tar.header import Header, encode, padding
from trimaran.tar.writer import END
from trimaran.testing.images import random_image

PROMPT = 60
"""Seconds in which everything here is over even on a busy machine; what waits for a pipe never is."""


def run(main, *arguments):
    return asyncio.run(asyncio.wait_for(main(*arguments), PROMPT))


@pytest.fixture
def image():
    return random_image(1)


@pytest.fixture
def folder(tmp_path, image):
    async def fill():
        layout = await Layout.create(str(tmp_path / "layout"))
        await image.write_to(layout)
        await layout.name(image.root)

    run(fill)
    return tmp_path / "layout"


def blob(folder, descriptor):
    return folder / "blobs" / "sha256" / descriptor.digest.hex


async def read(folder, descriptor):
    return await read_all(await Layout.open(str(folder)), descriptor)


def test_a_blob_that_is_a_link_is_what_its_digest_says(folder, image, tmp_path):
    """Bazel's rules make layouts of links; the bytes are verified wherever they lie."""
    descriptor, raw = image.contents[0]
    (tmp_path / "elsewhere").write_bytes(raw)
    blob(folder, descriptor).unlink()
    blob(folder, descriptor).symlink_to("../../../elsewhere")
    assert run(read, folder, descriptor) == raw
    (tmp_path / "elsewhere").write_bytes(bytes(len(raw)))
    with pytest.raises(Corrupt):
        run(read, folder, descriptor)


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "/proc/self/mem", "folder"])
def test_a_blob_that_is_no_file_is_not_opened(folder, image, name):
    descriptor, _ = image.contents[0]
    path = blob(folder, descriptor)
    path.unlink()
    if name == "pipe":
        os.mkfifo(path)
    elif name == "folder":
        path.mkdir()
    else:
        path.symlink_to(name)
    with pytest.raises(TrimaranError, match=descriptor.digest.hex):
        run(read, folder, descriptor)


@pytest.mark.parametrize("name", ["oci-layout", "index.json"])
def test_documents_of_a_layout_that_are_pipes(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)

    async def main():
        await (await Layout.open(str(folder))).index()

    with pytest.raises(TrimaranError, match=name):
        run(main)


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_nothing_is_written_or_removed_through_links(folder, image, tmp_path, name):
    """A layout that came with a checkout, as the destination of a cache or an image."""
    victim = tmp_path / "victim"
    (victim / "sha256").mkdir(parents=True)
    for path in (victim / "kept", victim / "sha256" / "kept"):
        path.write_text("kept")
    (folder / name).rename(tmp_path / "moved")
    (folder / name).symlink_to(victim)

    async def main(work):
        await work(await Layout.open(str(folder)))

    raw = b"{}"
    for work in (
        lambda layout: write_blob(Descriptor.of(raw, "application/json"), raw, layout),
        lambda layout: layout.keep_only({image.root.digest}),
    ):
        with pytest.raises(Conflict, match=r"layout: (blobs|sha256) is no folder"):
            run(main, work)
    assert sorted(str(path.relative_to(victim)) for path in victim.rglob("*")) == ["kept", "sha256", "sha256/kept"]


def test_an_archive_that_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    async def main():
        async with Archive.open(str(tmp_path / "pipe")):
            pass

    with pytest.raises(UsageError, match="not a regular file"):
        run(main)


def test_an_archive_with_a_file_of_more_than_8_gib(folder, image, tmp_path):
    """Its size stands in a PAX header, and what is not asked for is not read."""
    size = 9 << 30
    large = encode(Header(name="blobs/sha256/" + "0" * 64, size=size))
    assert len(large) > 512
    path = tmp_path / "large.tar"
    with path.open("wb") as file:
        file.write(large)
        file.seek(size, os.SEEK_CUR)
        for name in ("oci-layout", "index.json"):
            data = (folder / name).read_bytes()
            file.write(encode(Header(name=name, size=len(data))) + data + padding(len(data)))
        file.write(END)

    async def main():
        async with Archive.open(str(path)) as archive:
            return archive.images

    assert [each.digest for each in run(main)] == [image.root.digest]
    with path.open("r+b") as file:
        file.truncate(size)
    with pytest.raises(Corrupt, match="beyond the end"):
        run(main)


def test_an_archive_of_tar_with_hard_links(folder, image, tmp_path):
    """Equal files that something has linked: tar(1) writes the second as a link to the first."""
    descriptor, _ = image.contents[0]
    os.link(blob(folder, descriptor), folder / "blobs" / "a-copy")
    subprocess.run(["tar", "-cf", tmp_path / "l.tar", "--sort=name", "-C", folder, "."], check=True)

    async def main():
        async with Archive.open(str(tmp_path / "l.tar")) as archive:
            return await validate(archive.images[0], archive)

    assert run(main) == ()


def docker_archive(path, layers, times):
    data = {"c.json": b"{}", "layer.tar": bytes(layers), "manifest.json": b""}
    data["manifest.json"] = json.dumps([{"Config": "c.json", "Layers": ["layer.tar"] * times}]).encode()
    pieces = [encode(Header(name=name, size=len(raw))) + raw + padding(len(raw)) for name, raw in data.items()]
    path.write_bytes(b"".join(pieces) + END)


def test_a_layer_named_thousands_of_times_is_hashed_once(tmp_path):
    docker_archive(tmp_path / "a.tar", 4 << 20, 4000)

    async def main():
        async with Archive.open(str(tmp_path / "a.tar")) as archive:
            return await read_all(archive, archive.images[0])

    begun = time.monotonic()
    assert len(indexes.parse_any(run(main)).layers) == 4000
    assert time.monotonic() - begun < 20, "16 GB would take longer"
    docker_archive(tmp_path / "a.tar", 1024, 60_000)
    with pytest.raises(Corrupt, match="more than 50000 layers"):
        run(main)


async def put(layout, raw, media_type):
    descriptor = Descriptor.of(raw, media_type)
    await write_blob(descriptor, raw, layout)
    return descriptor


def nowhere(number, media_type=media_types.OCI_MANIFEST, size=500):
    return Descriptor(media_type=media_type, digest=Digest.of(b"%d" % number), size=size)


@pytest.mark.parametrize(
    ("inner", "outer", "size", "words"),
    [
        pytest.param(100, 100, 500, "more than 4096 manifests", id="indexes in an index"),
        pytest.param(90, 1, 4 << 20, "more than 268435456 bytes", id="large documents"),
    ],
)
def test_what_an_index_names_without_end_is_not_read(tmp_path, inner, outer, size, words):
    """None of them is there: had they been asked for, the error would be another."""

    async def main():
        layout = await Layout.create(str(tmp_path / "l"))
        children = []
        for number in range(outer):
            named = tuple(nowhere(number * inner + each, size=size) for each in range(inner))
            children.append(await put(layout, indexes.build(named).raw, media_types.OCI_INDEX))
        root = await put(layout, indexes.build(tuple(children)).raw, media_types.OCI_INDEX)
        await content_of(root, layout)

    with pytest.raises(Corrupt, match=words):
        run(main)


def test_indexes_in_indexes(tmp_path):
    """A few levels and some hundred manifests are nothing odd; a hundred levels are."""

    async def main(levels):
        layout = await Layout.create(str(tmp_path / "l"))
        image = random_image(3)
        await image.write_to(layout)
        (manifest,) = [each for each, _ in (await content_of(image.root, layout)).documents][:1]
        raw = await read_all(layout, manifest)
        many = [await put(layout, raw + b"\n" * number, manifest.media_type) for number in range(300)]
        root = await put(layout, indexes.build(tuple(many)).raw, media_types.OCI_INDEX)
        for _ in range(levels):
            root = await put(layout, indexes.build((root,)).raw, media_types.OCI_INDEX)
        return len((await content_of(root, layout)).documents)

    assert run(main, 3) == 300 + 4
    with pytest.raises(Corrupt, match="indexes in indexes"):
        run(main, 100)


def test_documents_of_very_many_values():
    """16 MiB of brackets would be lists for 200 MB and for seconds of a blocked event loop."""
    few = documents.VALUES_LIMIT // 2 - 10
    assert documents.check(b'{"a":[' + b"[]," * few + b"[]]}", "config")
    for many in (b"[]", b"{}", b"1", b'""'):
        raw = b'{"a":[' + b",".join([many] * 300_000) + b"]}"
        with pytest.raises(Corrupt, match="more than 250000 values"):
            documents.check(raw, "config")


def test_a_config_of_many_megabytes_of_text():
    history = [{"created_by": "RUN " + "[,{" * 3000, "empty_layer": True} for _ in range(1000)]
    raw = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "history": history}
    ).encode()
    assert 8 << 20 < len(raw) < documents.CONFIG_LIMIT
    assert len(image_config.parse(raw).history) == 1000


def test_our_own_archives_are_read_again(folder, image, tmp_path):
    async def main():
        layout = await Layout.open(str(folder))
        with (tmp_path / "own.tar").open("wb") as file:
            await write_archive(file.fileno(), image.root, layout)
        async with Archive.open(str(tmp_path / "own.tar")) as archive:
            return await validate(archive.images[0], archive)

    assert run(main) == ()
