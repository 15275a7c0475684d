"""Entry lists that were asked for: kept decoded in memory within bounds, kept for good in the layers' rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.store.database import Database
from trimaran.store.entries import EMPTY, FILE, HARDLINK, Entry, EntryList
from trimaran.store.layer_rows import LayerId, LayerRows, insert_layer

_KEPT = 300_000
"""Entries, all lists together (about 300 bytes each)."""

NOTHING = LayerId(EMPTY.digest)
"""The layer that changes nothing: always there, has no bytes."""


def file_at(entries: EntryList, path: str) -> Entry:
    """The file at `path` of a layer, a hard link's as well. NotFound."""
    entry = entries.get(path)
    if entry is not None and entry.kind == HARDLINK:
        entry = entries.get(entry.target)
    if entry is None or entry.kind != FILE:
        raise NotFound(f"read {'/' + path!r}: no such file in the layer")
    return entry


class LayerLists:
    def __init__(self, database: Database, rows: LayerRows) -> None:
        self._database = database
        self._rows = rows
        self._lists: OrderedDict[LayerId, EntryList] = OrderedDict()
        self._only_here: set[LayerId] = set()
        self._count = 0
        self.replaced = 0
        """How often a list was replaced or dropped: while it stays, each layer's list is the object that it was."""

    def get(self, layer: LayerId) -> EntryList | None:
        """The list if it is known without reading the layer. The caller has pinned it."""
        known = self._lists.get(layer)
        if known is not None:
            self._lists.move_to_end(layer)
            return known
        if layer == NOTHING:
            return EMPTY
        kept = self._rows.entries(layer)
        return None if kept is None else self.put(layer, kept)

    def put(self, layer: LayerId, entries: EntryList, *, only_here: bool = False) -> EntryList:
        """Keep in memory; lists that are `only_here` (of contexts) are never dropped for others."""
        old = self._lists.pop(layer, None)
        self.replaced += old is not None and old is not entries
        self._count += len(entries) - (len(old) if old is not None else 0)
        self._lists[layer] = entries
        if only_here:
            self._only_here.add(layer)
        else:
            self._only_here.discard(layer)
        if self._count > _KEPT:
            for other in [each for each in self._lists if each not in self._only_here and each != layer]:
                self._count -= len(self._lists.pop(other))
                self.replaced += 1
                if self._count <= _KEPT:
                    break
        return entries

    def store(self, layer: LayerId, entries: EntryList) -> None:
        """Keep in memory and in the layer's row."""
        from trimaran.store.pages import paged

        self.put(layer, entries)
        body = paged(entries)
        self._database.submit(lambda connection: insert_layer(connection, layer, entries=body))

    def fill(self, layer: LayerId, digests: Mapping[str, Digest]) -> EntryList:
        """Put content digests that were computed into the list."""
        from trimaran.store.render import fill_digests

        entries = self.get(layer)
        assert entries is not None
        filled = fill_digests(entries, dict(digests))
        self.store(layer, filled)
        return filled
