"""Manifests, indexes, descriptors: BuildKit's bytes out, only unambiguous documents in."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimaran.digest import Digest
from trimaran.errors import Corrupt, TrimaranError, Unsupported
from trimaran.oci import descriptor as descriptors
from trimaran.oci import documents, image_config, media_types
from trimaran.oci import index as indexes
from trimaran.oci import manifest as manifests
from trimaran.oci.descriptor import Descriptor
from trimaran.platforms import Platform

CONFIG = Descriptor.of(b"{}", media_types.OCI_CONFIG)
LAYER = Descriptor.of(b"layer", media_types.OCI_LAYER_GZIP)


def filled(text):
    return text.replace("CONFIG", CONFIG.digest).replace("LAYER", LAYER.digest)


def test_manifest_bytes_are_buildkits():
    manifest = manifests.build(CONFIG, (LAYER,), annotations=(("b", "<&>"), ("a", "1")))
    assert manifest.raw.decode() == filled("""{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "CONFIG",
    "size": 2
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "digest": "LAYER",
      "size": 5
    }
  ],
  "annotations": {
    "a": "1",
    "b": "\\u003c\\u0026\\u003e"
  }
}""")
    assert manifests.parse(manifest.raw) == manifest


def test_index_bytes_are_buildkits():
    child = Descriptor(
        media_type=media_types.OCI_MANIFEST, digest=LAYER.digest, size=476, platform=Platform("linux", "arm", "v7")
    )
    index = indexes.build((child,))
    assert index.raw.decode() == filled("""{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.index.v1+json",
  "manifests": [
    {
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "digest": "LAYER",
      "size": 476,
      "platform": {
        "architecture": "arm",
        "os": "linux",
        "variant": "v7"
      }
    }
  ]
}""")
    assert indexes.parse(index.raw) == index
    assert indexes.parse_any(index.raw) == index


def test_no_layers_are_null_as_buildkit_has_it_and_read_back():
    manifest = manifests.build(CONFIG, ())
    assert b'"layers": null' in manifest.raw
    assert manifests.parse(manifest.raw).layers == ()


def manifest_json(**changes):
    base = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": {"mediaType": media_types.OCI_CONFIG, "digest": CONFIG.digest, "size": 2},
        "layers": [{"mediaType": media_types.OCI_LAYER_GZIP, "digest": LAYER.digest, "size": 5}],
    }
    base.update(changes)
    return json.dumps({key: value for key, value in base.items() if value is not ...})


def layer(**changes):
    base = {"mediaType": media_types.OCI_LAYER_GZIP, "digest": str(LAYER.digest), "size": 5}
    base.update(changes)
    return {key: value for key, value in base.items() if value is not ...}


HOSTILE = {
    "both manifests and layers": manifest_json(manifests=[]),
    "duplicate key": manifest_json()[:-1] + ', "layers": []}',
    "duplicate key deep": manifest_json().replace('"size": 5', '"size": 5, "size": 6'),
    "duplicate key by escape": manifest_json()[:-1] + ', "lay\\u0065rs": []}',
    "look-alike key": manifest_json(Layers=[]),
    "look-alike media type": manifest_json(mediatype=media_types.OCI_INDEX),
    "says it is an index": manifest_json(mediaType=media_types.OCI_INDEX),
    "says it is something else": manifest_json(mediaType="text/html"),
    "media type is a number": manifest_json(mediaType=5),
    "deep": manifest_json(x=None).replace("null", "[" * 5000 + "]" * 5000),
    "schema 3": manifest_json(schemaVersion=3),
    "schema as text": manifest_json(schemaVersion="2"),
    "negative size": manifest_json(layers=[layer(size=-1)]),
    "huge size": manifest_json(layers=[layer(size=1 << 63)]),
    "fractional size": manifest_json(layers=[layer(size=1.5)]),
    "path as digest": manifest_json(layers=[layer(digest="sha256:../../etc/passwd")]),
    "upper case digest": manifest_json(layers=[layer(digest=LAYER.digest.upper())]),
    "md5": manifest_json(layers=[layer(digest="md5:" + "0" * 32)]),
    "no digest": manifest_json(layers=[layer(digest=...)]),
    "no media type": manifest_json(layers=[layer(mediaType=...)]),
    "bad media type": manifest_json(layers=[layer(mediaType="x")]),
    "no config": manifest_json(config=...),
    "config null": manifest_json(config=None),
    "no layers": manifest_json(layers=...),
    "too many layers": manifest_json(layers=[layer()] * 5000),
    "data of other bytes": manifest_json(layers=[layer(data=base64.b64encode(b"other").decode())]),
    "data is no base64": manifest_json(layers=[layer(data="!!!")]),
    "annotations not text": manifest_json(annotations={"a": 1}),
    "list": "[]",
    "text": '"x"',
    "empty": "",
    "not JSON": "{",
    "two documents": manifest_json() + manifest_json(),
    "NaN": manifest_json(x=None).replace("null", "NaN"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_manifests_are_corrupt(case):
    with pytest.raises(Corrupt):
        indexes.parse_any(HOSTILE[case].encode())


def test_look_alikes_that_must_work():
    for raw in (
        manifest_json(),
        manifest_json(mediaType=...),
        manifest_json(mediaType=media_types.DOCKER_MANIFEST),
        manifest_json(unknown={"manifests": 1, "x": ["{", '"', "\\", ":"]}),
        manifest_json(annotations={"layers": "x", "a:b": '"quoted": yes', "c\\": "\\\\"}),
        manifest_json(annotations=None, subject=None),
        manifest_json(layers=[layer(data=base64.b64encode(b"layer").decode())]),
        manifest_json(layers=[layer(urls=["https://x"])]),
        manifest_json(layers=None),
    ):
        assert isinstance(indexes.parse_any(raw.encode()), manifests.Manifest), raw


def test_schema_1_is_named():
    with pytest.raises(Unsupported, match="schema 1"):
        indexes.parse_any(b'{"schemaVersion": 1, "fsLayers": []}')


def test_size_limit():
    with pytest.raises(Corrupt, match="allowed"):
        manifests.parse(b" " * (documents.MANIFEST_LIMIT + 1))


def test_declared_media_type_must_agree():
    raw = manifest_json().encode()
    assert manifests.parse(raw, media_types.OCI_MANIFEST)
    for other in (media_types.OCI_INDEX, media_types.DOCKER_MANIFEST):
        with pytest.raises(Corrupt):
            manifests.parse(raw, other)
    with pytest.raises(Corrupt, match="it is a manifest"):
        indexes.parse(raw)


@given(st.binary(max_size=300))
def test_any_bytes_are_ours_to_refuse(raw):
    for parse in (indexes.parse_any, image_config.parse, descriptors.parse):
        try:
            parse(raw)
        except TrimaranError:
            pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_check_takes_every_object_with_unique_keys(value):
    for raw in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=1)):
        try:
            encoded = raw.encode()
        except UnicodeEncodeError:
            continue
        assert documents.check(encoded, "it") == value
    assert documents.check(documents.encode(value), "it") == value
    assert not set("<>&\u2028\u2029") & set(documents.encode(value).decode())


digests = st.binary(max_size=8).map(Digest.of)
texts = st.text(max_size=8)


@given(
    st.builds(
        Descriptor,
        media_type=st.sampled_from([media_types.OCI_LAYER, media_types.OCI_MANIFEST]),
        digest=digests,
        size=st.integers(0, 2**63 - 1),
        platform=st.none() | st.builds(Platform, os=texts, architecture=texts, variant=texts),
        annotations=st.dictionaries(texts, texts, max_size=3).map(lambda pairs: tuple(sorted(pairs.items()))),
        artifact_type=st.sampled_from(["", "a/b", "application/vnd.x+json"]),
        urls=st.lists(texts, max_size=2).map(tuple),
    )
)
def test_descriptor_round_trip(descriptor):
    assert descriptors.parse(descriptors.encode(descriptor)) == descriptor


BUILDKIT_CONFIG = (
    b'{"architecture":"amd64","config":{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","Z=1"],"Cmd":["a","b"],'
    b'"Volumes":{"/v":{}},"WorkingDir":"/","Labels":{"a":"\\u003c\\u0026\\u003e"},"ArgsEscaped":true,"Healthcheck":'
    b'{"Test":["CMD-SHELL","true"],"Interval":5000000000},"OnBuild":["RUN x"],"Shell":["/x"]},'
    b'"created":"2026-11-23T21:01:49.140994247Z","history":[{"created":"2026-11-23T21:01:49.140994247Z",'
    b'"created_by":"COPY f /f # buildkit","comment":"buildkit.dockerfile.v0"},{"created_by":"SHELL [/x]",'
    b'"comment":"buildkit.dockerfile.v0","empty_layer":true}],"os":"linux","rootfs":{"type":"layers","diff_ids":'
    b'["sha256:01629bfe9edc8d239bd60a3c45333d03fde24c56d7a9978882b56ed353d7f83c"]}}'
)


def test_config_as_buildkit_wrote_it_comes_out_again():
    config = image_config.parse(BUILDKIT_CONFIG)
    assert image_config.encode(config) == BUILDKIT_CONFIG
    assert config.config.healthcheck.interval == 5_000_000_000
    assert config.config.labels == (("a", "<&>"),)


def test_unknown_and_old_docker_fields_are_kept_or_dropped():
    raw = b'{"architecture":"a","os":"l","docker_version":"1.12","config":{"Hostname":"h","Cmd":null,"MacAddress":"m"},"rootfs":{"type":"layers","diff_ids":null}}'
    config = image_config.parse(raw)
    written = json.loads(image_config.encode(config))
    assert written["docker_version"] == "1.12"
    assert written["config"] == {"Hostname": "h", "MacAddress": "m"}
    bare = json.loads(image_config.encode(image_config.without_extra(config)))
    assert bare == {"architecture": "a", "config": {}, "os": "l", "rootfs": {"type": "layers", "diff_ids": None}}


@pytest.mark.parametrize(
    "raw",
    [
        '{"created":"yesterday"}',
        '{"rootfs":{"type":"squashfs"}}',
        '{"rootfs":{"diff_ids":["sha256:x"]}}',
        '{"config":{"Env":[1]}}',
        '{"config":{"Cmd":"sh"}}',
        '{"os":1}',
        '{"history":"x"}',
        '{"os":"a","os":"b"}',
    ],
)
def test_bad_configs(raw):
    with pytest.raises(Corrupt):
        image_config.parse(raw.encode())
