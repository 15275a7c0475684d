"""Against a real docker-registry: push, pull, mount, resolve, tags."""

import asyncio
import os

import pytest

from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound, Unavailable
from trimaran.oci import index as indexes
from trimaran.oci import manifest as manifests
from trimaran.oci import media_types
from trimaran.oci.blobs import is_present, read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.platforms import Platform


async def push_blob(repository, raw, media_type=media_types.OCI_LAYER_GZIP, *, known=True):
    descriptor = Descriptor.of(raw, media_type)
    async with repository.ingest(media_type, descriptor if known else None) as sink:
        for start in range(0, len(raw), 100_000):
            await sink.write(raw[start : start + 100_000])
        return await sink.commit(descriptor)


def test_push_and_pull_of_a_two_platform_image(real_registry, make_client):
    async def run():
        async with make_client() as client:
            repository = client.repository(f"{real_registry}/a/b:v1")
            children = []
            for architecture in ("amd64", "arm64"):
                config = await push_blob(
                    repository, f'{{"architecture":"{architecture}"}}'.encode(), media_types.OCI_CONFIG
                )
                layer = await push_blob(repository, os.urandom(300_000))
                manifest = manifests.build(config, (layer,))
                pushed = await repository.put_manifest(manifest.raw, manifest.media_type)
                children.append(
                    Descriptor(
                        media_type=pushed.media_type,
                        digest=pushed.digest,
                        size=pushed.size,
                        platform=Platform("linux", architecture),
                    )
                )
            index = indexes.build(tuple(children))
            await repository.put_manifest(index.raw, index.media_type, "v1")
            descriptor, raw = await repository.get_manifest("v1")
            assert raw == index.raw
            assert descriptor == index.descriptor
            assert await repository.resolve("v1") == index.descriptor
            with pytest.raises(NotFound):
                await repository.resolve("no-such")
            assert "v1" in await repository.tags()
            child = indexes.parse(raw).manifests[1]
            manifest = manifests.parse((await repository.get_manifest(child.digest))[1])
            layer = await read_all(repository, manifest.layers[0])
            assert len(layer) == 300_000
            assert await repository.has(manifest.layers[0])
            assert await repository.has(child)

    asyncio.run(run())


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_blob_of_known_and_unknown_size(real_registry, make_client, known, size):
    async def run():
        async with make_client() as client:
            repository = client.repository(f"{real_registry}/sizes:v1")
            raw = os.urandom(size)
            descriptor = await push_blob(repository, raw, known=known)
            assert descriptor.size == size
            assert await read_all(repository, descriptor) == raw
            await push_blob(repository, raw, known=known)  # there already: still a success

    asyncio.run(run())


def test_wrong_bytes_are_not_committed(real_registry, make_client):
    async def run():
        async with make_client() as client:
            repository = client.repository(f"{real_registry}/wrong:v1")
            promised = Descriptor(media_type=media_types.OCI_LAYER, digest=Digest.of(b"right"), size=5)
            with pytest.raises(Corrupt):  # noqa: PT012 - the block is what is tested
                async with repository.ingest(promised.media_type, promised) as sink:
                    await sink.write(b"wrong")
                    await sink.commit(promised)
            assert not await repository.has(promised)
            with pytest.raises(NotFound):
                await read_all(repository, promised)

    asyncio.run(run())


def test_mount_from_another_repository_sends_nothing(real_registry, make_client):
    async def run():
        async with make_client() as client:
            one = client.repository(f"{real_registry}/mount/from:v1")
            two = client.repository(f"{real_registry}/mount/to:v1")
            descriptor = await push_blob(one, os.urandom(1000))
            two.mount_from[descriptor.digest] = ("no/such/repository", "mount/from")
            async with two.ingest(descriptor.media_type, descriptor) as sink:
                assert is_present(sink)
                assert await sink.commit() == descriptor  # nothing was written
            assert await two.has(descriptor)

    asyncio.run(run())


def test_error_of_a_missing_tag_names_the_url(real_registry, make_client):
    async def run():
        async with make_client() as client:
            with pytest.raises(NotFound) as caught:
                await client.repository(f"{real_registry}/a/b:nope").get_manifest("nope")
            assert f"GET http://{real_registry}/v2/a/b/manifests/nope: 404" in str(caught.value)

    asyncio.run(run())


def test_a_blob_that_an_image_names_and_the_registry_lost(real_registry, make_client):
    lost = Descriptor(media_type=media_types.OCI_LAYER_GZIP, digest=Digest.of(b"lost"), size=4)

    async def run():
        async with make_client() as client:
            with pytest.raises(NotFound) as caught:
                async with client.repository(f"{real_registry}/a/b:v1").read(lost):
                    pass
            assert f"GET http://{real_registry}/v2/a/b/blobs/{lost.digest}: 404" in str(caught.value)
            assert "push that image again" in caught.value.hint

    asyncio.run(run())


def test_nobody_listens(make_client):
    async def run():
        async with make_client() as client:
            with pytest.raises(Unavailable) as caught:
                await client.repository("127.0.0.1:9/a:v1").get_manifest("v1")
            assert "connect to 127.0.0.1:9: connection refused" in str(caught.value)
            assert "trimaran.toml" in caught.value.hint

    asyncio.run(run())
