"""What `--cache-to` and `--cache-from` are told: where to, in which form, and that no more is moved than has to be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from stage.certificates import Authority
from stage.contexts import Context
from stage.faulty import uploads
from stage.program import Trimaran

from trimaran.testing.registry import FaultyRegistry

BIG = 1_000_000
APP = """\
FROM alpine AS other
RUN head -c 1000000 /dev/urandom > /other
FROM alpine
RUN head -c 1000000 /dev/urandom > /lower
COPY --from=other /etc/passwd /copied
COPY a.txt /
RUN cat a.txt > /upper
"""


@pytest.fixture
def app(context: Context) -> Context:
    context.write("a.txt", f"{os.urandom(8).hex()}\n")
    return context.dockerfile(APP)


def downloads(remote: FaultyRegistry, since: int) -> set[str]:
    read = [each for each in remote.requests[since:] if each.method == "GET" and "/blobs/" in each.path]
    return {each.path.rpartition("/")[2] for each in read}


def manifest(remote: FaultyRegistry) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(remote.manifests["cache", "v1"][1])
    return found


def config_of(document: dict[str, Any]) -> str:
    if "config" in document:
        return str(document["config"]["digest"])
    (digest,) = (each["digest"] for each in document["manifests"] if "cacheconfig" in each["mediaType"])
    return str(digest)


def layers_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    entries = document.get("layers") or document["manifests"]
    return [each for each in entries if "cacheconfig" not in each["mediaType"]]


def test_only_new_blobs_are_sent(trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry) -> None:
    words = ("build", f"--cache-to=type=registry,ref={remote.host}/cache:v1,mode=max", os.fspath(app))
    trimaran(*words)
    before, since = set(remote.blobs), len(remote.requests)
    app.write("a.txt", "changed\n")
    trimaran(*words)
    new = {digest for _, digest in set(remote.blobs) - before}
    assert sorted(uploads(remote, since)) == sorted(new)
    assert len(new) == 3, "two layers and the config"


def test_only_what_is_needed_is_read(trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry) -> None:
    ref = f"{remote.host}/cache:v1"
    trimaran("build", f"--cache-to=type=registry,ref={ref},mode=max", os.fspath(app))
    sizes = {digest: len(raw) for (_, digest), raw in remote.blobs.items()}
    trimaran.forget()
    since = len(remote.requests)
    trimaran("build", "--fail-on-miss", "--output=type=cacheonly", f"--cache-from={ref}", os.fspath(app))
    assert downloads(remote, since) == {config_of(manifest(remote))}, "a hit is a promise: no layer is read"
    app.dockerfile(APP.replace("cat a.txt", "cat a.txt a.txt"))
    since = len(remote.requests)
    trimaran("build", "--output=type=cacheonly", f"--cache-from={ref}", os.fspath(app))
    large = [digest for digest in downloads(remote, since) if BIG <= sizes[digest] < 2 * BIG]
    assert len(large) == 1, "what the step runs on, and not the stage that is thrown away"


@pytest.mark.parametrize(
    ("options", "kind", "layer"),
    [
        (
            "compression=zstd",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
        (
            "compression=uncompressed,image-manifest=false",
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.layer.v1.tar",
        ),
        (
            "compression=gzip,compression-level=9,image-manifest=false,oci-mediatypes=false",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ),
    ],
)
def test_the_form_is_as_it_was_asked_for(
    trimaran: Trimaran, bases: str, app: Context, remote: FaultyRegistry, options: str, kind: str, layer: str
) -> None:
    """Layers of the base stay as they are, unless that is forced; and each form is one that is hit again."""
    ref = f"{remote.host}/cache:v1"
    for forced in (False, True):
        more = ",force-compression=true" if forced else ""
        trimaran("build", f"--cache-to=type=registry,ref={ref},mode=max,{options}{more}", os.fspath(app))
        assert remote.manifests["cache", "v1"][0] == manifest(remote)["mediaType"] == kind
        found = [each["mediaType"] for each in layers_of(manifest(remote))]
        others = [each for each in found if each != layer]
        assert len(found) - len(others) >= 5
        if forced or "gzip" in options:
            assert others == []
        else:
            assert others
            assert set(others) == {"application/vnd.oci.image.layer.v1.tar+gzip"}
        for each in layers_of(manifest(remote)):
            raw = remote.blobs["cache", each["digest"]]
            assert (len(raw), f"sha256:{sha256(raw).hexdigest()}") == (each["size"], each["digest"])
            assert {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}.get(raw[:2], "tar") == each["mediaType"].rpartition(
                "+" if "+" in each["mediaType"] else "."
            )[2]
    trimaran.forget()
    trimaran("build", "--fail-on-miss", f"--cache-from={ref}", f"--output={trimaran.home}/out", os.fspath(app))
    assert (trimaran.home / "out/upper").read_text() == (app / "a.txt").read_text()


def test_an_untrusted_registry_is_spoken_to_only_when_told(
    trimaran: Trimaran, bases: str, app: Context, authority: Authority
) -> None:
    with FaultyRegistry(tls=(str(authority.certificate), str(authority.key))) as remote:
        ref = f"{remote.host}/cache:v1"
        said = trimaran("build", "--progress=plain", f"--cache-to=type=registry,ref={ref}", os.fspath(app)).stderr
        assert f"WARN: cache is not exported to {ref}" in said
        assert not remote.blobs
        trimaran(
            "build", f"--cache-to=type=registry,ref={ref},registry.insecure=true,ignore-error=false", os.fspath(app)
        )
        assert remote.manifests
        trimaran.forget()
        said = trimaran("build", "--progress=plain", f"--cache-from=type=registry,ref={ref}", os.fspath(app)).stderr
        assert f"WARN: cache of {ref} is not used" in said
        trimaran.forget()
        insecure = f"--cache-from=type=registry,ref={ref},registry.insecure=true"
        trimaran("build", "--fail-on-miss", insecure, os.fspath(app))


@pytest.fixture
def bucket() -> Iterator[str]:
    """What a cache in a bucket of a local server is called on the command line, but for the keys."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "a secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket="caches")
    yield f"type=s3,bucket=caches,region=us-east-1,endpoint_url={endpoint},use_path_style=true,prefix=team/"
    server.stop()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_bucket_hands_a_cache_on(either: Trimaran, bases: str, app: Context, bucket: str, mode: str) -> None:
    """Keys come from the environment, as AWS's tools find them, or from the flag."""
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_EC2_METADATA_DISABLED": "true"}
    told = f"--cache-to={bucket},mode={mode},name=main;branch,ignore-error=false"
    said = either("build", "--progress=plain", told, os.fspath(app), env=keys).stderr
    assert "exporting cache to Amazon S3" in said
    assert "a secret" not in said
    either.forget()
    flag = f"--cache-from={bucket},name=branch,access_key_id=id,secret_access_key=a secret"
    out = f"--output={either.home}/out"
    either("build", "--fail-on-miss", flag, out, os.fspath(app), env={"AWS_EC2_METADATA_DISABLED": "true"})
    assert (either.home / "out/upper").read_text() == (app / "a.txt").read_text()
    said = either(
        "build",
        "--progress=plain",
        "--no-cache",
        f"--cache-to={bucket.replace('bucket=caches', 'bucket=none')}",
        os.fspath(app),
        env=keys,
    ).stderr
    assert "WARN: cache is not exported to s3 bucket none" in said
