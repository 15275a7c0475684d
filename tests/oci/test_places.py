"""Layouts and archives: the contract, names, what other programs read, and what is broken."""

import asyncio
import gzip
import io
import json
import os
import random
import subprocess
import tarfile

import pytest

from contracts import blobs as contract
from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound, TrimaranError, UsageError
from trimaran.oci import media_types
from trimaran.oci.archive import Archive, write_archive
from trimaran.oci.blobs import read_all
from trimaran.oci.copy import copy_image
from trimaran.oci.index import parse as parse_index
from trimaran.oci.layout import Layout, encode_index, named, ref_name
from trimaran.oci.matching import pick
from trimaran.oci.validate import validate
from trimaran.platforms import Platform
from trimaran.testing.images import AMD64, ARM64, random_image

NAME = "localhost/x/y:v1"


async def layout_of(image, path):
    layout = await Layout.create(str(path))
    await image.write_to(layout)
    return layout


@pytest.mark.parametrize("check", [*contract.ALL, contract.sha512], ids=lambda check: check.__name__)
def test_contract(check, tmp_path):
    async def main():
        layout = await Layout.create(str(tmp_path / "layout"))
        await check(layout)
        assert not list((tmp_path / "layout/blobs").rglob(".*")), "no temporary file is left"

    asyncio.run(main())


def test_names_in_a_layout(tmp_path):
    async def main():
        image, other = random_image(1), random_image(2)
        layout = await layout_of(image, tmp_path)
        await layout.name(image.root, (NAME, "localhost/x/y:v2"), created="2020-01-01T00:00:00Z")
        assert [
            entry.annotation("org.opencontainers.image.ref.name") for entry in (await layout.index()).manifests
        ] == ["v1", "v2"]
        await layout.name(other.root, (NAME,))
        assert (await layout.find(NAME)).digest == other.root.digest
        assert (await layout.find("v2")).digest == image.root.digest
        assert (await layout.find(digest=image.root.digest)).digest == image.root.digest
        with pytest.raises(UsageError, match="2 images"):
            await layout.find()
        with pytest.raises(NotFound) as caught:
            await layout.find("nope")
        assert NAME in caught.value.hint
        assert (await Layout.open(str(tmp_path))).path == str(tmp_path)

    asyncio.run(main())


def test_many_writers_lose_no_name(tmp_path):
    async def main():
        image = random_image(1)
        layout = await layout_of(image, tmp_path)
        from trimaran import aio

        await aio.all_of(layout.name(image.root, (f"localhost/n{number}:v1",)) for number in range(20))
        assert len((await layout.index()).manifests) == 20

    asyncio.run(main())


def test_no_layout_is_made_among_other_things(tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(UsageError, match="other things"):
        asyncio.run(Layout.create(str(tmp_path)))
    with pytest.raises(UsageError, match="no oci-layout"):
        asyncio.run(Layout.open(str(tmp_path)))
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(Corrupt, match="version"):
        asyncio.run(Layout.open(str(tmp_path)))


def test_reference_names():
    assert ref_name("docker.io/library/alpine:3") == "3"
    assert ref_name("localhost:5000/a") == "localhost:5000/a"
    assert ref_name("a/b:v@sha256:" + "0" * 64) == "sha256:" + "0" * 64


def test_index_json_is_buildkits():
    root = random_image(1).root
    (entry,) = named(root, (NAME,), "2026-11-23T21:01:49Z")
    assert encode_index((entry,)).decode() == (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":['
        f'{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{root.digest}","size":{root.size},'
        '"annotations":{"io.containerd.image.name":"localhost/x/y:v1",'
        '"org.opencontainers.image.created":"2026-11-23T21:01:49Z","org.opencontainers.image.ref.name":"v1"}}]}'
    )


def archive(image, folder, name="image.tar", **options):
    path = folder / name

    async def main():
        layout = await layout_of(image, folder / "source")
        counted = []
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        await write_archive(fd, image.root, layout, count=counted.append, **options)
        os.close(fd)
        assert sum(counted) == path.stat().st_size

    asyncio.run(main())
    return path


def test_oci_archive_is_laid_out_as_buildkits(tmp_path):
    image = random_image(3, platforms=(AMD64, ARM64))
    path = archive(image, tmp_path, names=(NAME,), created="2020-01-01T00:00:00Z")
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert {(m.uid, m.gid, m.mtime, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
        modes = {member.name: oct(member.mode) for member in members}
        assert modes["index.json"] == "0o644"
        assert modes["oci-layout"] == modes[f"blobs/sha256/{image.root.digest.hex}"] == "0o444"
        assert modes["blobs"] == modes["blobs/sha256"] == "0o755"
        assert tar.extractfile("oci-layout").read() == b'{"imageLayoutVersion":"1.0.0"}'
    again = archive(image, tmp_path, "again.tar", names=(NAME,), created="2020-01-01T00:00:00Z")
    assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("docker", [False, True])
def test_skopeo_reads_archives(tmp_path, docker):
    image = random_image(4)
    path = archive(image, tmp_path, names=(NAME,), docker=docker)
    kind = "docker-archive" if docker else "oci-archive"
    output = subprocess.run(["skopeo", "inspect", f"{kind}:{path}"], capture_output=True, check=True).stdout
    found = json.loads(output)
    assert (found["Architecture"], found["Os"], len(found["Layers"])) == ("amd64", "linux", 2)
    if docker:
        with tarfile.open(path) as tar:
            (entry,) = json.load(tar.extractfile("manifest.json"))
        assert list(entry) == ["Config", "RepoTags", "Layers"]
        assert entry["RepoTags"] == [NAME]


def test_docker_archive_of_an_index_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not an index"):
        archive(random_image(5, platforms=(AMD64, ARM64)), tmp_path, docker=True)


def test_archive_is_read_where_it_lies(tmp_path):
    image = random_image(6, platforms=(AMD64, ARM64))
    path = archive(image, tmp_path, names=(NAME,))

    async def main():
        async with Archive.open(str(path)) as source:
            (root,) = source.images
            assert root.annotation("io.containerd.image.name") == NAME
            target = await Layout.create(str(tmp_path / "copy"))
            await copy_image(root, source, target)
            assert await validate(root, target) == ()
            assert await validate(root, source) == ()

    asyncio.run(main())


def test_skopeos_docker_archive_is_read(tmp_path):
    """Without index.json, layers unpacked and linked: manifests are made for it."""
    image = random_image(7)
    path = archive(image, tmp_path, names=(NAME,))
    subprocess.run(
        ["skopeo", "copy", "-q", f"oci-archive:{path}", f"docker-archive:{tmp_path}/d.tar:{NAME}"], check=True
    )

    async def main():
        async with Archive.open(str(tmp_path / "d.tar")) as source:
            (root,) = source.images
            assert root.annotation("io.containerd.image.name") == NAME
            assert await validate(root, source) == ()

    asyncio.run(main())


def tar_of(**files):
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("_json", ".json"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return output.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x" * 1000,
        os.urandom(4096),
        tar_of(hello=b"x"),
        tar_of(index_json=b"{"),
        tar_of(index_json=b'{"schemaVersion":2,"manifests":[],"layers":[]}'),
        tar_of(manifest_json=b"[{}]"),
        tar_of(manifest_json=b'[{"Config":"../../etc/passwd","Layers":[]}]'),
        tar_of(manifest_json=b'[{"Config":"c","Layers":["/etc/passwd"]}]', c=b"{}"),
        tar_of(manifest_json=b'{"a":1}'),
        tar_of(index_json=b'{"schemaVersion":2,"manifests":[]}')[:520],
    ],
)
def test_broken_archives(tmp_path, raw):
    path = tmp_path / "broken.tar"
    path.write_bytes(raw)

    async def main():
        async with Archive.open(str(path)):
            pass

    with pytest.raises(TrimaranError):
        asyncio.run(main())


def test_an_archive_with_wrong_bytes_under_a_digest(tmp_path):
    image = random_image(8)
    path = archive(image, tmp_path)
    raw = path.read_bytes()
    layer = image.contents[0][1]
    place = raw.index(layer) + 50
    path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])

    async def main():
        async with Archive.open(str(path)) as source:
            with pytest.raises(Corrupt, match="other bytes"):
                await read_all(source, image.contents[0][0])
            (finding,) = await validate(source.images[0], source)
            assert finding.digest == image.contents[0][0].digest

    asyncio.run(main())


def test_validate_finds_what_is_wrong(tmp_path):
    """Layers swapped, a layer gone, a layer that does not unpack: each is told."""
    from trimaran.oci import manifest as manifests
    from trimaran.oci.copy import write_blob
    from trimaran.oci.descriptor import Descriptor

    image = random_image(9)
    (one, _), (two, _), (config, _), _ = image.contents

    async def check(layers, **extra):
        layout = await layout_of(image, tmp_path / "l")
        for descriptor, raw in extra.get("more", ()):
            await write_blob(descriptor, raw, layout)
        manifest = manifests.build(config, layers)
        await write_blob(manifest.descriptor, manifest.raw, layout)
        return [finding.problem for finding in await validate(manifest.descriptor, layout)]

    assert asyncio.run(check((one, two))) == []
    assert "its diff id is" in asyncio.run(check((two, one)))[0]
    assert "1 layers, but 2 diff ids" in asyncio.run(check((one,)))[0]
    for raw, kind in (
        (b"no gzip", media_types.OCI_LAYER_GZIP),
        (gzip.compress(b"x" * 999)[:-9], media_types.OCI_LAYER_GZIP),
        (b"x", media_types.OCI_LAYER_ZSTD),
    ):
        broken = Descriptor.of(raw, kind)
        assert "unpack" in asyncio.run(check((one, broken), more=((broken, raw),)))[0]
    absent = Descriptor(media_type=media_types.OCI_LAYER, digest=Digest.of(b"?"), size=1)
    assert "not there" in asyncio.run(check((one, absent)))[0]


@pytest.mark.parametrize("packed", ["gzip members", "zstd frames", "plain"])
def test_validate_unpacks_in_pieces(tmp_path, packed):
    import zstandard

    from trimaran.oci.copy import write_blob
    from trimaran.oci.descriptor import Descriptor
    from trimaran.oci.validate import diff_id_of

    raw = random.Random(1).randbytes(3_000_000) + bytes(20_000_000)
    halves = (raw[:1_500_000], raw[1_500_000:])
    data, kind = {
        "gzip members": (b"".join(gzip.compress(half, 1) for half in halves), media_types.OCI_LAYER_GZIP),
        "zstd frames": (b"".join(zstandard.compress(half, 1) for half in halves), media_types.OCI_LAYER_ZSTD),
        "plain": (raw, media_types.OCI_LAYER),
    }[packed]
    descriptor = Descriptor.of(data, kind)

    async def main():
        layout = await Layout.create(str(tmp_path))
        await write_blob(descriptor, data, layout)
        return await diff_id_of(descriptor, layout)

    assert asyncio.run(main()) == Digest.of(raw)


def test_pick():
    image = random_image(1, platforms=(AMD64, ARM64, Platform("linux", "arm", "v6")))
    index = parse_index(image.contents[-1][1])
    assert pick(index, Platform("linux", "arm64")).platform == ARM64
    assert pick(index, Platform("linux", "arm", "v7")).platform.variant == "v6"
    assert pick(index, Platform("linux", "s390x")) is None
    assert pick(index, Platform("linux", "amd64", "v3")).platform == AMD64
