"""Room on a disk that is full to its last block, where even rows that go need some: here files go before their rows.

Law: a row without its files is a miss, so they may. What a living build has pinned stays: each folder and blob is taken
from its name, the pins are read once more, and it is given back when somebody has pinned it meanwhile. A blob that is
another layer's, too, goes with the last of their rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from trimaran.aio import Cancel
from trimaran.store.database import Database
from trimaran.store.pins import live_pins
from trimaran.store.removal import disk_usage, remove_tree
from trimaran.store.usage import REGULAR, UsageRecord

_ENOUGH = 4 << 20
"""Bytes in which the rows of many layers can be deleted."""


def relieve(cancel: Cancel, root: str, database: Database, going: Iterable[UsageRecord]) -> bool:
    """Remove files of layers that are `going` anyway, until their rows can follow; whether there were any."""
    freed = 0
    for record in going:
        if record.type != REGULAR:
            continue
        for pins, path in _files(root, database, record.id):
            freed += _remove(cancel, root, pins, path)
        if freed >= _ENOUGH:
            break
    return freed > 0


def _files(root: str, database: Database, layer: str) -> Iterator[tuple[set[str], str]]:
    """What may go of a layer, each with the pins that would keep it."""
    for (number,) in database.query("SELECT number FROM snapshots WHERE layer=?", (layer,)):
        yield {f"layer:{layer}"}, os.path.join(root, "snapshots", str(number))
    sql = (
        "SELECT digest FROM layer_blobs WHERE layer=? AND digest NOT IN (SELECT digest FROM image_blobs)"
        " AND digest NOT IN (SELECT digest FROM layer_blobs WHERE layer != ?)"
    )
    for (digest,) in database.query(sql, (layer, layer)):
        algorithm, _, name = digest.partition(":")
        yield {f"layer:{layer}", f"blob:{digest}"}, os.path.join(root, "blobs", algorithm, name)


def _remove(cancel: Cancel, root: str, pins: set[str], path: str) -> int:
    """Bytes freed. A name with a suffix is no layer's and no blob's: if we are killed, any prune sweeps it."""
    size = disk_usage(cancel, path)
    gone = f"{path}.gone"
    if not size or pins & live_pins(root):
        return 0
    try:
        os.rename(path, gone)
    except FileNotFoundError:  # another prune was quicker
        return 0
    if pins & live_pins(root):
        os.rename(gone, path)
        return 0
    remove_tree(cancel, gone)
    return size
