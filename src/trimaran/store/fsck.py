"""Looking for damage: all that the store says it has is read and compared; what is wrong is told, or dropped if asked.

Law: repairing drops only what is wrong, so that it is fetched or made again; good bytes and good rows stay. What cannot
be made again (a named image's own documents) is told and left. Builds may go on meanwhile: what they changed is looked
at twice before it is called damage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing

import msgspec

from trimaran.aio import Cancel
from trimaran.errors import Corrupt, NotFound
from trimaran.solver.protocols import Eviction
from trimaran.store.damage import Damage, Found, Looked
from trimaran.store.database import open_database
from trimaran.store.store import Store, open_store


class Report(msgspec.Struct, frozen=True, kw_only=True):
    damages: tuple[Damage, ...]
    repaired: bool
    blobs: int
    """Looked at, as the next two."""
    snapshots: int
    records: int
    leftovers: int
    """Folders of killed builds: no damage."""
    unknown_files: int
    """Files of steps that nobody had hashed before: from now on their damage would be seen, too."""
    unlisted: int
    """Folders that could be compared with nothing, since the lists of their layers are gone."""

    @property
    def left(self) -> int:
        return sum(not (self.repaired and damage.mend) for damage in self.damages)


def fsck(
    cancel: Cancel, root: str, *, repair: bool, user_xattrs: bool = False, tell: Callable[[Damage], object]
) -> Report:
    """Check the store in `root`; with `repair` drop what is wrong. Reads every byte of it. NotFound."""
    damages: list[Damage] = []

    def note(damage: Damage) -> None:
        damages.append(damage)
        tell(damage)

    for damage in _databases(root):
        note(damage)
    if repair:
        from trimaran.store.salvage import forget_damaged, salvage

        if damages:
            salvage(root, [damage.name for damage in damages])
        else:
            forget_damaged(root)
    if damages and not repair:
        return _report(damages, repair, Looked())
    looked = Looked()
    with open_store(root, user_xattrs=user_xattrs) as store:
        for damage, mend in _all(cancel, store, looked):
            note(damage)
            if repair and mend is not None:
                mend()
        if repair:
            store.collector.sweep(cancel, Eviction(cause="fsck"))
    return _report(damages, repair, looked)


def _report(damages: list[Damage], repair: bool, looked: Looked) -> Report:
    return Report(
        damages=tuple(damages),
        repaired=repair,
        blobs=looked.blobs,
        snapshots=looked.snapshots,
        records=looked.records,
        leftovers=looked.leftovers,
        unknown_files=looked.unknown_files,
        unlisted=looked.unlisted,
    )


def _databases(root: str) -> Iterator[Damage]:
    """SQLite's own check of both files: pages, indexes, and that they are databases at all."""
    if not os.path.exists(os.path.join(root, "store.db")):
        raise NotFound(f'check store "{root}": there is none yet')
    for name, schema, mend in (
        ("store.db", "main", "what can be read of it goes into a new one"),
        ("fast.db", "fast", "it is begun anew: it only knew when things were used"),
    ):
        try:
            with closing(open_database(root, readonly=True)) as database:
                rows = [text for (text,) in database.query(f"PRAGMA {schema}.integrity_check(3)")]
        except Corrupt as error:
            rows = [error.message]
        if rows != ["ok"]:
            yield Damage("database", name, rows[0].replace("\n", " "), mend)


def _all(cancel: Cancel, store: Store, looked: Looked) -> Iterator[Found]:
    from trimaran.store import fsck_files, fsck_rows

    yield from fsck_files.blobs(cancel, store, looked)
    yield from fsck_rows.pages(cancel, store)
    yield from fsck_rows.layers(cancel, store)
    yield from fsck_rows.lists(cancel, store)
    yield from fsck_rows.layer_blobs(cancel, store)
    yield from fsck_files.snapshots(cancel, store, looked)
    yield from fsck_rows.records(cancel, store, looked)
    yield from fsck_rows.images(cancel, store)
