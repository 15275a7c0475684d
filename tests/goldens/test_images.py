"""The independent reader that goldens and benchmarks trust: layers over layers, and what a comparison says."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from goldens.golden import differences
from goldens.images import archive, images


def layer(*members):
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as file:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            elif content.startswith("->"):
                member.type, member.linkname = tarfile.SYMTYPE, content[2:]
            elif content.startswith("="):
                member.type, member.linkname = tarfile.LNKTYPE, content[1:]
            else:
                member.size = len(content)
            file.addfile(member, io.BytesIO((content or "").encode()))
    return output.getvalue()


def tree(tmp_path, *layers, wrong=False):
    blobs = {}

    def put(content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"digest": digest, "size": len(content)}

    diff_ids = ["sha256:" + hashlib.sha256(content + (b"!" if wrong else b"")).hexdigest() for content in layers]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    described = [{**put(gzip.compress(content)), "mediaType": "layer.tar+gzip"} for content in layers]
    manifest = put(json.dumps({"config": put(json.dumps(config).encode()), "layers": described}).encode())
    path = tmp_path / "image.tar"
    with tarfile.open(path, "w") as file:
        index = json.dumps({"manifests": [manifest]}).encode()
        named = {"blobs/" + digest.replace(":", "/"): content for digest, content in blobs.items()}
        for name, content in {"index.json": index, **named}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    with archive(path) as (opened, descriptor):
        return images(opened, descriptor)["linux/amd64"].tree


def names(found):
    return sorted(found)


def test_whiteouts_hide_lower_layers_and_not_their_own(tmp_path):
    lower = layer(("d", None), ("d/a", "1"), ("d/b", "2"), ("gone", "3"))
    upper = layer(("d/.wh.a", ""), ("d/a", "new"), (".wh.gone", ""))
    found = tree(tmp_path, lower, upper)
    assert names(found) == ["d", "d/a", "d/b"]
    assert found["d/a"]["text"] == "new"


def test_opaque_folder_keeps_only_what_its_layer_has(tmp_path):
    lower = layer(("d", None), ("d/a", "1"), ("d/sub", None), ("d/sub/x", "2"))
    assert names(tree(tmp_path, lower, layer(("d", None), ("d/b", "3"), ("d/.wh..wh..opq", "")))) == ["d", "d/b"]


def test_file_replaces_folder_with_all_in_it(tmp_path):
    lower = layer(("d", None), ("d/a", "1"))
    assert names(tree(tmp_path, lower, layer(("d", "now a file")))) == ["d"]


def test_hard_links_are_the_file_and_say_so(tmp_path):
    found = tree(tmp_path, layer(("a", "x"), ("b", "=a")))
    assert found["a"] == found["b"]
    assert found["a"]["links"] == "a"


def test_wrong_diff_id_is_told(tmp_path):
    with pytest.raises(ValueError, match="the config says"):
        tree(tmp_path, layer(("a", "x")), wrong=True)


def test_differences_name_the_place():
    ours = {"files": {"a": {"mode": "0644"}, "b": 1}, "list": [1, 2]}
    theirs = {"files": {"a": {"mode": "0600"}}, "list": [1, 3]}
    assert differences(ours, theirs) == [
        "files › a › mode: '0644', not '0600'",
        "files › b: 1, not nothing",
        "list[1]: 2, not 3",
    ]
    assert differences(ours, ours) == []
