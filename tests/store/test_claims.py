"""What images and caches say of layers and blobs, and what nobody has checked yet (threats T61, T62)."""

from __future__ import annotations

import asyncio

import pytest
from test_layers import Remote, archive, gzipped, remote_layer

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.oci.descriptor import Descriptor
from trimaran.solver.protocols import ResultGone
from trimaran.store.compression import Compression
from trimaran.store.fsck import fsck
from trimaran.store.layers import LayerId
from trimaran.store.store import open_store

GZIP = Compression("gzip")
KIND = "application/vnd.oci.image.layer.v1.tar+gzip"
EVIL = gzipped(archive({"evil": b"1"}))
LIE = Descriptor.of(EVIL, KIND)


class Promising(Remote):
    """A cache: what it has not is a promise that was not kept."""

    def broken(self, error):
        return ResultGone("promised")


def test_a_false_claim_of_bytes_that_are_here_harms_no_later_build(tmp_path, run):
    """An image says that a blob of ours is the layer of another image. That image works all the same, then and later."""
    diff_id, descriptor, remote = remote_layer({"a": b"1"})
    with open_store(str(tmp_path)) as store:
        store.content.put(EVIL, KIND)
        layer = store.layers.register_blob(diff_id, LIE)
        with pytest.raises(Corrupt, match=f"blob {LIE.digest} holds"):
            run(store.layers.folder(layer))
        store.layers.register_blob(diff_id, LIE)
    with open_store(str(tmp_path)) as store:
        store.layers.register_remote(diff_id, descriptor, remote, "r")
        assert [entry.path for entry in run(store.layers.entries(layer))] == ["a"]
        run(store.layers.folder(layer))
        assert run(store.layers.blob(layer, GZIP)).descriptor == descriptor
    with open_store(str(tmp_path)) as store:
        assert run(store.layers.blob(layer, GZIP)).descriptor == descriptor
        assert fsck(Cancel(), str(tmp_path), repair=False, tell=print).damages == ()


def test_a_claim_that_nobody_repeats_is_no_promise(tmp_path, run):
    diff_id, _, _ = remote_layer({"a": b"1"})
    with open_store(str(tmp_path)) as store:
        store.content.put(EVIL, KIND)
        layer = store.layers.register_blob(diff_id, LIE)
    with open_store(str(tmp_path)) as store:
        assert fsck(Cancel(), str(tmp_path), repair=False, tell=print).damages == (), (
            "what others say is no damage of ours"
        )
        with pytest.raises(ResultGone):
            run(store.layers.folder(layer))
        assert not store.layers.present(layer)


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("first", ["true", "false"])
def test_two_claims_are_not_believed_before_they_are_tried(store, run, here, first):
    """The blob of an image's base is what the base's image says, not what another image in the build says of it."""
    diff_id, descriptor, remote = remote_layer({"a": b"1"})
    evil = Remote(EVIL)

    def lie():
        if here:
            store.content.put(EVIL, KIND)
            return store.layers.register_blob(diff_id, LIE)
        return store.layers.register_remote(diff_id, LIE, evil, "evil")

    def truth():
        return store.layers.register_remote(diff_id, descriptor, remote, "r")

    for claim in (truth, lie) if first == "true" else (lie, truth):
        layer = claim()
    if first == "true":
        with pytest.raises(Corrupt, match="the image says|holds"):
            run(store.layers.blob(layer, GZIP))
    else:
        assert run(store.layers.blob(layer, GZIP)).descriptor == descriptor


def test_what_was_unpacked_is_known_and_another_claim_is_tried(tmp_path, run):
    diff_id, descriptor, remote = remote_layer({"a": b"1"})
    with open_store(str(tmp_path)) as store:
        layer = store.layers.register_remote(diff_id, descriptor, remote, "r")
        run(store.layers.folder(layer))
    with open_store(str(tmp_path)) as store:
        store.layers.register_remote(diff_id, LIE, Remote(EVIL), "evil")
        with pytest.raises(Corrupt):
            run(store.layers.blob(layer, GZIP))
    with open_store(str(tmp_path)) as store:
        store.layers.register_remote(diff_id, descriptor, remote, "r")
        assert run(store.layers.blob(layer, GZIP)).descriptor == descriptor
    assert remote.read_count == 1


def test_one_layer_in_two_compressions_is_no_lie(store, run):
    """Both are true: the image that was named last is exported as it is, and nothing else is fetched."""
    diff_id, descriptor, remote = remote_layer({"a": b"1"})
    plain = archive({"a": b"1"})
    other = Descriptor.of(plain, "application/vnd.oci.image.layer.v1.tar")
    again = Remote(plain)
    store.layers.register_remote(diff_id, descriptor, remote, "r")
    layer = store.layers.register_remote(diff_id, other, again, "r")
    assert run(store.layers.blob(layer, GZIP)).descriptor == other
    assert (remote.read_count, again.read_count) == (0, 1)
    store.layers.register_remote(diff_id, descriptor, remote, "r")
    assert run(store.layers.blob(layer, GZIP)).descriptor == descriptor
    run(store.layers.folder(layer))
    assert (remote.read_count, again.read_count) == (1, 1)


def test_one_claim_is_passed_on_without_a_byte_being_fetched(store, run):
    diff_id, descriptor, remote = remote_layer({"a": b"1"})
    for _ in range(2):
        layer = store.layers.register_remote(diff_id, descriptor, remote, "r")
    assert run(store.layers.blob(layer, GZIP)).descriptor == descriptor
    assert remote.read_count == 0


def test_a_cache_that_says_it_of_bytes_that_are_here_is_a_promise_not_kept(store, run):
    diff_id, _, _ = remote_layer({"a": b"1"})
    store.content.put(EVIL, KIND)
    layer = store.layers.register_remote(diff_id, LIE, Promising(EVIL), "cache")
    assert store.layers.is_here(layer)
    with pytest.raises(ResultGone):
        run(store.layers.folder(layer))


def test_bytes_that_are_here_are_not_fetched_again(store, run):
    diff_id, descriptor, remote = remote_layer({"a": b"1"})
    (raw,) = remote.blobs.values()
    store.content.put(raw, KIND)
    layer = store.layers.register_remote(diff_id, descriptor, remote, "cache")
    run(asyncio.wait_for(store.layers.folder(LayerId(layer)), 10))
    assert remote.read_count == 0
    assert run(store.layers.blob(layer, GZIP)).diff_id == Digest(diff_id)
