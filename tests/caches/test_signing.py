"""What a signature covers: whatever of a cache a reader believes, and the name it is for."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256

import msgspec
import pytest

from trimaran.caches import importing, local
from trimaran.caches.as_manifest import CREATED
from trimaran.caches.cache_map import Dependency, record_digest
from trimaran.caches.chains import ChainLayer, ChainResult, Chains
from trimaran.caches.exporting import export_cache
from trimaran.caches.options import Bucket, LocalExport, LocalImport, RegistryExport, RegistryImport, S3Import, Signing
from trimaran.caches.registry import signer as registry_signer
from trimaran.caches.s3 import signer as bucket_signer
from trimaran.caches.sending import Sending
from trimaran.caches.signing import ANNOTATION, DIFF_ID, Signer, signer_of
from trimaran.digest import Digest
from trimaran.errors import Denied
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.client import Registry
from trimaran.sources.given import KeySource
from trimaran.store.store import open_store

KEY = KeySource(variable="KEY")
KEYS = {KEY: b"0123456789abcdef"}
SIGNING = Signing(KEY)
ROOT, OP = Digest.of(b"root"), Digest.of(b"op")
CONFIG = Digest.of(b"config")
LAYERS = [
    Descriptor(
        media_type="application/vnd.oci.image.layer.v1.tar+gzip",
        digest=Digest.of(name),
        size=7,
        annotations=((CREATED, "2024-01-01T00:00:00Z"), (DIFF_ID, Digest.of(name + b" plain"))),
    )
    for name in (b"lower", b"upper")
]


def changed(layer, **fields):
    return msgspec.structs.replace(layer, **fields)


def test_all_that_a_reader_believes_is_signed():
    signer = Signer(b"0123456789abcdef", "app:cache")
    signature = signer.sign(CONFIG, LAYERS)
    signer.check(signature, CONFIG, LAYERS)
    lower, upper = LAYERS
    others = [
        (Signer(b"0123456789abcdeF", "app:cache"), CONFIG, LAYERS),
        (Signer(b"0123456789abcdef", "app:other"), CONFIG, LAYERS),
        (signer, Digest.of(b"other config"), LAYERS),
        (signer, CONFIG, LAYERS[:1]),
        (signer, CONFIG, [upper, lower]),
        (signer, CONFIG, [lower, changed(upper, digest=lower.digest)]),
        (signer, CONFIG, [lower, changed(upper, size=8)]),
        (signer, CONFIG, [lower, changed(upper, media_type="application/vnd.oci.image.layer.v1.tar")]),
        (signer, CONFIG, [lower, changed(upper, annotations=lower.annotations)]),
        (signer, CONFIG, [lower, changed(upper, annotations=())]),
    ]
    signatures = {each.sign(config, layers) for each, config, layers in others}
    assert len(signatures | {signature}) == len(others) + 1
    for each, config, layers in others:
        with pytest.raises(Denied, match="not one of this key"):
            each.check(signature, config, layers)


@pytest.mark.parametrize("signature", ["hmac-sha256:", "hmac-sha256:00", "x", "ü", "\0"])
def test_what_is_no_signature_is_none(signature):
    with pytest.raises(Denied, match="not one of this key for app:cache"):
        Signer(b"0123456789abcdef", "app:cache").check(signature, CONFIG, LAYERS)
    with pytest.raises(Denied, match="it has none"):
        Signer(b"0123456789abcdef", "app:cache").check("", CONFIG, LAYERS)


def test_the_key_is_shown_by_nothing():
    assert "0123456789" not in repr(Signer(b"0123456789abcdef", "x")) + repr(SIGNING)
    with pytest.raises(Denied, match=r"no key in \$KEY"):
        signer_of(SIGNING, "x", {})
    assert signer_of(None, "x", KEYS) is None


def scope_of(signer) -> str:
    return signer._scope


def test_a_cache_is_signed_for_its_own_name_unless_another_is_given():
    """The digest is no part of it: who pins one has the same cache."""
    pinned = f"registry.test/app:cache@{CONFIG}"
    for cache in (
        RegistryImport("registry.test/app:cache", signing=SIGNING),
        RegistryImport(pinned, signing=SIGNING),
        RegistryExport(ref="registry.test/app:cache", signing=SIGNING),
    ):
        assert scope_of(registry_signer(cache, KEYS)) == "registry.test/app:cache"
    for folder in (LocalImport(src="/a", signing=SIGNING), LocalExport(dest="/b", signing=SIGNING)):
        assert scope_of(local.signer(folder, KEYS)) == "local:latest"
    bucket = S3Import(bucket=Bucket(bucket="b", prefix="team/"), signing=SIGNING)
    assert scope_of(bucket_signer(bucket, "main", KEYS)) == "s3:b/team/manifests/main"
    named = RegistryImport("registry.test/app:cache", signing=Signing(KEY, "ours"))
    assert scope_of(registry_signer(named, KEYS)) == "ours"


# -- a cache in a folder, written and read ----------------------------------------------------------------------------


async def write(store, folder, **options):
    events = []
    blob = store.content.put(b"layer", LAYERS[0].media_type)
    layer = ChainLayer(
        blob=blob.digest, media_type=blob.media_type, diff_id=Digest.of(b"d"), size=5, created="2024-01-01T00:00:00Z"
    )
    chains = Chains()
    chains.add(
        record_digest(OP, 0), [{(chains.root(record_digest(ROOT, 0)), "")}], ChainResult((layer,), layer.created)
    )

    async def collect(_export):
        return chains.config()

    async with Registry() as registry:
        sending = Sending(LocalExport(dest=str(folder), **options), store, registry, events.append, KEYS)
        await export_cache(sending, collect, events.append)
    assert [event for event in events if hasattr(event, "short")] == []


async def read(folder, **options) -> tuple[bool, list[str]]:
    """Whether it has its record, and what was warned of."""
    events = []
    async with Registry() as registry:
        links = await importing.import_caches(
            [LocalImport(src=str(folder), **options)], registry, (), events.append, KEYS
        )
    found = links.results(links.readers(OP, 0, 0, Dependency(), links.sources([ROOT])))
    return bool(found), [event.short.decode() for event in events if hasattr(event, "short")]


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


FORMS = [{}, {"image_manifest": False}, {"image_manifest": False, "oci_media_types": False}]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_carries_it_and_who_asks_for_none_sees_none(tmp_path, store, form):
    folder = tmp_path / "cache"
    asyncio.run(write(store, folder, signing=SIGNING, **form))
    assert asyncio.run(read(folder, signing=SIGNING)) == (True, [])
    assert asyncio.run(read(folder)) == (True, [])
    hit, warnings = asyncio.run(read(folder, signing=Signing(KEY, "other")))
    assert not hit
    (warning,) = warnings
    assert warning.startswith(f"cache of local:{folder} is not used: check its signature: it is not one of this key")
    asyncio.run(write(store, folder, **form))
    hit, warnings = asyncio.run(read(folder, signing=SIGNING))
    assert (hit, len(warnings)) == (False, 1)
    assert "it has none" in warnings[0]


def test_signing_twice_gives_the_same_bytes(tmp_path, store):
    """Else an unchanged cache would be written at every build."""
    indexes = []
    for name in ("a", "b"):
        asyncio.run(write(store, tmp_path / name, signing=SIGNING))
        indexes.append((tmp_path / name / "index.json").read_bytes())
    assert indexes[0] == indexes[1]


@pytest.mark.parametrize("what", ["content", "config", "blob"])
def test_a_manifest_that_says_something_else_under_the_same_signature_is_a_miss(tmp_path, store, what):
    folder = tmp_path / "cache"
    asyncio.run(write(store, folder, signing=SIGNING))
    index = json.loads((folder / "index.json").read_text())
    blobs = folder / "blobs/sha256"

    def put(value) -> dict[str, object]:
        raw = json.dumps(value).encode()
        (blobs / sha256(raw).hexdigest()).write_bytes(raw)
        return {"digest": f"sha256:{sha256(raw).hexdigest()}", "size": len(raw)}

    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
    assert manifest["config"]["annotations"][ANNOTATION].startswith("hmac-sha256:")
    if what == "content":
        manifest["layers"][0]["annotations"][DIFF_ID] = Digest.of(b"something that is here")
    elif what == "config":
        config = json.loads((blobs / manifest["config"]["digest"][7:]).read_text())
        config["records"][0]["layers"] = [{"layer": 0, "createdAt": "2030-01-01T00:00:00Z"}]
        manifest["config"] |= put(config)
    else:
        manifest["layers"].append(manifest["layers"][0] | put("other"))
    index["manifests"][0] |= put(manifest)
    (folder / "index.json").write_text(json.dumps(index))
    hit, warnings = asyncio.run(read(folder, signing=SIGNING))
    assert (hit, len(warnings)) == (False, 1)
    assert asyncio.run(read(folder)) == (True, [])
