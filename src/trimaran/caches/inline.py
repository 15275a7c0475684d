"""`type=inline`: a cache's records in the config of the image itself, whose layers they mean."""

from __future__ import annotations

import binascii

import msgspec

from trimaran.caches import config as configs
from trimaran.caches.importing import INLINE
from trimaran.oci import documents


def with_records(image_config: bytes, config: configs.CacheConfig) -> bytes:
    """The image config with the cache's records; each result names the layer of the image that is its topmost."""
    value = documents.check(image_config, "image config", limit=documents.CONFIG_LIMIT)
    records = tuple(
        msgspec.structs.replace(
            record,
            results=tuple(
                msgspec.structs.replace(result, layers=(len(config.stack(result)) - 1,)) for result in record.results
            ),
        )
        for record in config.records
    )
    value[INLINE] = binascii.b2a_base64(configs.encode_records(records), newline=False).decode()
    return documents.encode(value)
