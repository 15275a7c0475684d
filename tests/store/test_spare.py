"""What is made ahead gives way: blobs that nobody needs, and those that are being written."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from test_layers import listed

from trimaran import aio
from trimaran.errors import Unavailable
from trimaran.store.compression import Compression
from trimaran.store.store import open_store

MIB = 1 << 20
PLAIN = Compression("uncompressed")


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


async def ahead(store, layer):
    with aio.in_background():
        return (await store.layers.blob(layer, PLAIN, spare=True)).descriptor.digest


async def new(store, size=MIB):
    return await store.layers.add(*listed({"f": os.urandom(size)}))


def test_what_nobody_needs_goes_and_is_made_again(store):
    async def run():
        layer = await new(store)
        digest = await ahead(store, layer)
        assert store.content.size(digest)
        assert store.content.spare.give_way() >= MIB
        assert not os.path.exists(store.content.path(digest))
        assert store.content.spare.give_way() == 0
        made = await store.layers.blob(layer, PLAIN)
        assert made.descriptor.digest == digest
        assert store.content.size(digest) == made.descriptor.size
        assert store.content.spare.give_way() == 0, "it is needed now"

    asyncio.run(run())


@pytest.mark.parametrize("first", [True, False])
def test_what_somebody_needs_stays(store, first):
    """Whether it was asked for before it was made ahead, or after."""

    async def run():
        layer = await new(store)
        if first:
            await store.layers.blob(layer, PLAIN)
        digest = await ahead(store, layer)
        if not first:
            await store.layers.blob(layer, PLAIN)
        assert store.content.spare.give_way() == 0
        assert store.content.size(digest)

    asyncio.run(run())


def test_what_a_build_leaves_behind_stays(store):
    """A layer that is only a context: after `settle` the blob is all there is of it."""

    async def run():
        layer = await new(store)
        digest = await ahead(store, layer)
        await store.layers.settle([layer])
        assert store.content.spare.give_way() == 0
        assert store.content.size(digest)

    asyncio.run(run())


def test_what_another_build_came_to_stand_on_stays(store):
    """It was here when that build looked, so it made none of its own; nor may an image that it left lose it."""
    digest = asyncio.run(ahead(store, asyncio.run(new(store))))
    with open_store(store.root) as other:
        size = other.content.size(digest)
        assert size
        assert store.content.spare.give_way() == 0
        assert other.content.size(digest) == size
        asyncio.run(store.layers.database.flush())
        assert other.database.row("SELECT condemned FROM blobs WHERE digest=?", (digest,)) == (0,)
        other.database.execute("INSERT INTO image_blobs VALUES('app', ?)", (digest,)).result()
    store.content.spare.offer(digest)
    assert store.content.spare.give_way() == 0
    store.database.execute("DELETE FROM image_blobs").result()
    store.content.spare.offer(digest)
    assert store.content.spare.give_way() >= MIB
    assert store.content.size(digest) is None


def in_background_thread(function):
    """Run it to its end in a thread of low priority; its error."""
    raised = []

    def run():
        aio.become_background_thread()
        try:
            function()
        except Unavailable as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


def test_one_that_is_being_written_frees_its_room_at_once(store):
    """Its writer learns of it at the next piece, and cannot finish what is cut short."""

    def write():
        with store.content.writer("t/t", spare=True) as writer:
            writer.write(os.urandom(MIB))
            assert store.content.spare.give_way() >= MIB
            with pytest.raises(Unavailable):
                writer.commit()
            writer.write(b"more")

    (error,) = in_background_thread(write)
    assert "goes first" in error.message
    assert os.listdir(os.path.join(store.root, "blobs", "sha256")) == []
    with store.content.writer("t/t") as writer:
        writer.write(b"of the build itself")
        assert store.content.spare.give_way() == 0
        writer.commit()


def test_in_the_background_nothing_is_evicted(store):
    async def old():
        layer = await new(store, 4 * MIB)
        await store.layers.blob(layer, PLAIN)
        await store.sync()
        return layer

    kept = asyncio.run(old())
    store.ceiling.limit = 8 * MIB

    def write():
        with store.content.writer("t/t") as writer:
            for _ in range(8):
                writer.write(os.urandom(MIB))

    (error,) = in_background_thread(write)
    assert "leaves no room to work ahead" in error.message
    assert store.layers.present(kept)


def test_the_cache_itself_gives_way_where_it_is_made_last(store):
    """Not in the background then: what it may take it takes, and it goes all the same."""

    async def run():
        layer = await new(store)
        digest = (await store.layers.blob(layer, PLAIN, spare=True)).descriptor.digest
        assert store.content.spare.give_way() >= MIB
        assert not os.path.exists(store.content.path(digest))

    asyncio.run(run())
