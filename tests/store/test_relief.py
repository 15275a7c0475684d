"""What a full disk's prune takes before its rows can go: nothing that anybody else has."""

from __future__ import annotations

import asyncio
import os

from test_layers import listed

from trimaran.aio import Cancel
from trimaran.store.compression import Compression
from trimaran.store.relief import relieve
from trimaran.store.store import open_store


def test_a_blob_of_two_layers_goes_with_the_last_of_them(tmp_path):
    async def made(store):
        layer = await store.layers.add(*listed({"f": b"content"}))
        return layer, (await store.layers.blob(layer, Compression())).descriptor.digest

    with open_store(str(tmp_path / "store")) as store:
        layer, digest = asyncio.run(made(store))
        path = store.content.path(digest)
        store.database.execute(
            "INSERT INTO layer_blobs SELECT 'other', compression, digest, size, media_type FROM layer_blobs"
        ).result()
        going = [record for record in store.collector.usage(Cancel()) if record.id == layer]
        assert len(going) == 1
    with open_store(str(tmp_path / "store")) as store:
        assert not relieve(Cancel(), store.root, store.database, going)
        assert os.path.exists(path)
        store.database.execute("DELETE FROM layer_blobs WHERE layer='other'").result()
        assert relieve(Cancel(), store.root, store.database, going)
        assert not os.path.exists(path)
