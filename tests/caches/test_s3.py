"""A cache in a bucket, spoken to over HTTP: moto's server plays S3."""

from __future__ import annotations

import asyncio
import json

import pytest

from trimaran.caches import config as configs
from trimaran.caches.cache_map import Dependency, record_digest
from trimaran.caches.chains import ChainLayer, ChainResult, Chains
from trimaran.caches.config import CacheConfig
from trimaran.caches.exporting import export_cache
from trimaran.caches.importing import import_caches
from trimaran.caches.options import Bucket, S3Export, S3Import, Signing
from trimaran.caches.sending import Sending
from trimaran.digest import Digest
from trimaran.errors import TrimaranError
from trimaran.oci.blobs import read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.client import Registry
from trimaran.sources.given import KeySource
from trimaran.store.store import open_store

pytestmark = pytest.mark.filterwarnings("default")  # what other people's packages warn of is theirs

DATA = b"a layer" * 1000
ROOT, OP = Digest.of(b"root"), Digest.of(b"op")


@pytest.fixture(scope="module")
def endpoint():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, request, monkeypatch):
    import boto3

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = request.node.name.replace("_", "-").lower()[:60].strip("-")
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "a secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=name)
    return Bucket(
        bucket=name,
        region="us-east-1",
        prefix="team/",
        endpoint_url=endpoint,
        use_path_style=True,
        access_key_id="id",
        secret_access_key="a secret",  # noqa: S106 - moto takes any
    )


def objects(bucket: Bucket) -> dict[str, bytes]:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=bucket.endpoint_url,
        aws_access_key_id="id",
        aws_secret_access_key="x",  # noqa: S106
        region_name="us-east-1",
    )
    listed = client.list_objects_v2(Bucket=bucket.bucket).get("Contents", ())
    return {each["Key"]: client.get_object(Bucket=bucket.bucket, Key=each["Key"])["Body"].read() for each in listed}


def config_of(descriptor: Descriptor) -> CacheConfig:
    layer = ChainLayer(
        blob=descriptor.digest,
        media_type=descriptor.media_type,
        diff_id=Digest.of(b"diff"),
        size=descriptor.size,
        created="2024-01-01T00:00:00Z",
    )
    chains = Chains()
    root = chains.root(record_digest(ROOT, 0))
    chains.add(record_digest(OP, 0), [{(root, "")}], ChainResult((layer,), "2024-01-01T00:00:00Z"))
    return chains.config()


def results(links):
    return links.results(links.readers(OP, 0, 0, Dependency(), links.sources([ROOT])))


KEY = KeySource(variable="KEY")
KEYS = {KEY: b"0123456789abcdef"}


async def export(store, registry, bucket, events, **options):
    descriptor = store.content.put(DATA, "application/vnd.oci.image.layer.v1.tar+gzip")

    async def collect(_export):
        return config_of(descriptor)

    sending = Sending(S3Export(bucket=bucket, **options), store, registry, events.append, KEYS)
    await export_cache(sending, collect, events.append)
    return descriptor


def test_what_is_exported_is_imported_and_lies_where_buildkit_puts_it(tmp_path, bucket):
    events = []

    async def run(store):
        async with Registry() as registry:
            descriptor = await export(store, registry, bucket, events, names=("main", "branch"))
            links = await import_caches([S3Import(bucket=bucket, name="branch")], registry, (), events.append, {})
            (result,) = results(links)
            assert await result.layers[0].source.has(descriptor)
            assert await read_all(result.layers[0].source, result.layers[0].descriptor) == DATA
            return descriptor

    with open_store(str(tmp_path / "store")) as store:
        descriptor = asyncio.run(run(store))
    found = objects(bucket)
    assert sorted(found) == sorted([f"team/blobs/{descriptor.digest}", "team/manifests/branch", "team/manifests/main"])
    annotations = json.loads(found["team/manifests/main"])["layers"][0]["annotations"]
    assert annotations["size"] == len(DATA)
    assert annotations["diffID"] == Digest.of(b"diff")
    assert configs.parse(found["team/manifests/main"]).records


def test_a_blob_that_is_there_is_not_sent_again(tmp_path, bucket):
    events = []

    async def run(store):
        async with Registry() as registry:
            await export(store, registry, bucket, events)
            first = objects(bucket)
            await export(store, registry, bucket, events)
            assert objects(bucket) == first

    with open_store(str(tmp_path / "store")) as store:
        asyncio.run(run(store))


def test_other_bytes_under_a_blobs_name_are_refused(tmp_path, bucket):
    import boto3

    async def run(store):
        async with Registry() as registry:
            descriptor = await export(store, registry, bucket, [])
            client = boto3.client(
                "s3",
                endpoint_url=bucket.endpoint_url,
                aws_access_key_id="id",
                aws_secret_access_key="x",  # noqa: S106
                region_name="us-east-1",
            )
            client.put_object(Bucket=bucket.bucket, Key=f"team/blobs/{descriptor.digest}", Body=DATA[:-1] + b"x")
            links = await import_caches([S3Import(bucket=bucket)], registry, (), lambda _: None, {})
            (result,) = results(links)
            with pytest.raises(TrimaranError, match="other bytes"):
                await read_all(result.layers[0].source, descriptor)

    with open_store(str(tmp_path / "store")) as store:
        asyncio.run(run(store))


def test_a_config_carries_its_signature_under_each_name(tmp_path, bucket):
    """What was put under another name, or written by who has no key, is no cache; who asks for none sees none."""
    events = []

    async def read(name, scope="", *, signed=True):
        async with Registry() as registry:
            cache = S3Import(bucket=bucket, name=name, signing=Signing(KEY, scope) if signed else None)
            return bool(await import_caches([cache], registry, (), events.append, KEYS))

    async def run(store):
        async with Registry() as registry:
            await export(store, registry, bucket, events, names=("main", "branch"), signing=Signing(KEY))
            assert [await read("main"), await read("branch"), await read("main", signed=False)] == [True] * 3
            here = f"s3:{bucket.bucket}/team/manifests/"
            assert [await read("main", f"{here}main"), await read("main", f"{here}branch")] == [True, False]
            await export(store, registry, bucket, events, names=("main",))
            assert [await read("main"), await read("main", signed=False)] == [False, True]

    with open_store(str(tmp_path / "store")) as store:
        asyncio.run(run(store))
    told = [event.short.decode() for event in events if hasattr(event, "short")]
    assert ["not one of this key" in told[0], "it has none" in told[1], len(told)] == [True, True, 2]


def test_a_name_or_bucket_that_is_not_there_is_a_warning_and_insisting_an_error(tmp_path, bucket):
    events = []
    missing = Bucket(**{name: getattr(bucket, name) for name in bucket.__struct_fields__} | {"bucket": "no-such"})

    async def run(store):
        async with Registry() as registry:
            assert not await import_caches([S3Import(bucket=bucket, name="none")], registry, (), events.append, {})
            await export(store, registry, missing, events)
            with pytest.raises(TrimaranError, match="bucket does not exist"):
                await export(store, registry, missing, events, ignore_error=False)

    with open_store(str(tmp_path / "store")) as store:
        asyncio.run(run(store))
    told = [event.short.decode() for event in events if hasattr(event, "short")]
    assert len(told) == 2
    assert "is not used" in told[0]
    assert "is not exported" in told[1]
    assert "a secret" not in repr(events)
