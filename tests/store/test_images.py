from __future__ import annotations

import json

import pytest

from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound
from trimaran.oci.descriptor import Descriptor

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def part(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


def image(store, name: bytes = b"layer"):
    layer = store.content.put(name, LAYER)
    config = store.content.put(b'{"config": "%s"}' % name, CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": part(config), "layers": [part(layer)]}
    described = store.content.put(json.dumps(manifest).encode(), MANIFEST)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [part(described)]}
    return store.content.put(json.dumps(index).encode(), INDEX), [layer, config, described]


def test_put_get_list_remove(store, run):
    index, parts = image(store)
    run(store.images.put("docker.io/library/app:v1", index))
    assert store.images.get("docker.io/library/app:v1") == index
    assert [stored.name for stored in store.images.list()] == ["docker.io/library/app:v1"]
    assert set(store.images.blobs("docker.io/library/app:v1")) == {d.digest for d in (index, *parts)}
    other, _ = image(store, b"other")
    run(store.images.put("docker.io/library/app:v1", other))
    assert store.images.get("docker.io/library/app:v1") == other
    assert parts[0].digest not in store.images.blobs("docker.io/library/app:v1")
    assert run(store.images.remove("docker.io/library/app:v1"))
    assert not run(store.images.remove("docker.io/library/app:v1"))
    assert store.images.get("docker.io/library/app:v1") is None
    assert store.images.blobs("docker.io/library/app:v1") == []


def test_an_image_may_lack_platforms_and_layers_but_not_its_top(store, run):
    missing = Descriptor(media_type=MANIFEST, digest=Digest.of(b"elsewhere"), size=9)
    index = store.content.put(json.dumps({"manifests": [part(missing)]}).encode(), INDEX)
    run(store.images.put("partial", index))
    assert missing.digest in store.images.blobs("partial")
    with pytest.raises(NotFound):
        run(store.images.put("nothing", missing))


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"layers": [{}]}', b'{"manifests": [{"mediaType": "x", "digest": "../../x", "size": 1}]}']
)
def test_what_is_no_document_gets_no_name(store, run, body):
    with pytest.raises(Corrupt):
        run(store.images.put("bad", store.content.put(body, MANIFEST)))
    assert store.images.get("bad") is None
