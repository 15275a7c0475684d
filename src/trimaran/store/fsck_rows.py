"""Rows of the database against each other and against what they name: lists, layers' blobs, records, images."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Corrupt, TrimaranError
from trimaran.oci import media_types
from trimaran.oci.descriptor import Descriptor
from trimaran.solver.keys import key_of
from trimaran.solver.protocols import CacheRecord, Eviction
from trimaran.store.damage import AGAIN, Damage, Found, Looked, statement
from trimaran.store.decompression import decompress
from trimaran.store.layer_lists import NOTHING
from trimaran.store.layer_rows import CLAIMED, LayerId
from trimaran.store.packing import row_sum, unpack
from trimaran.store.page_rows import read_pages
from trimaran.store.pages import joined, page_id
from trimaran.store.records import noted_layers
from trimaran.store.store import Store
from trimaran.store.tombstones import bury

_CHUNK = 1 << 20
_LAYER_TYPES = frozenset(
    {
        media_types.OCI_LAYER,
        media_types.OCI_LAYER_GZIP,
        media_types.OCI_LAYER_ZSTD,
        media_types.DOCKER_LAYER,
        media_types.DOCKER_LAYER_GZIP,
        media_types.DOCKER_LAYER_ZSTD,
        media_types.DOCKER_FOREIGN_LAYER_GZIP,
        *(media_types.OCI_NONDISTRIBUTABLE + suffix for suffix in ("", "+gzip", "+zstd")),
    }
)
_LIST = "it is dropped, and read again from the layer's folder or blob"


def pages(cancel: Cancel, store: Store) -> Iterator[Found]:
    """A page's name is a digest of its bytes."""
    for page, body in store.database.query("SELECT id, body FROM pages"):
        cancel.check()
        if page_id(body) != page:
            mend = statement(store.database, "DELETE FROM pages WHERE id=?", page)
            yield Damage("list", f"page {page.hex()}", "its bytes are not those of its name", _LIST), mend


def lists(cancel: Cancel, store: Store) -> Iterator[Found]:
    """Lists that can be decoded (they hold a checksum), and that are what the layer is named after."""
    database = store.database
    read = partial(read_pages, database)
    rows = database.query("SELECT id, entries, diff_id FROM layers WHERE entries IS NOT NULL")
    for layer, body, diff_id in rows:
        cancel.check()
        try:
            entries = joined(body, read)
            cause = "" if entries is not None else "parts of it are gone"
        except Corrupt as error:
            entries, cause = None, error.message
        if entries is not None and store.layers.is_rendered(layer) and layer != diff_id:
            try:
                cause = "" if entries.may_be(layer) else "it is not the list the layer is named after"
            except ValueError:
                cause = "content digests are missing"
        if cause:
            mend = statement(database, "UPDATE layers SET entries=NULL WHERE id=?", layer)
            yield Damage("list", layer, cause, _LIST), mend


def layers(cancel: Cancel, store: Store) -> Iterator[Found]:
    """What is said of a layer beside its bytes: the stack it was made on, what made it, and when."""
    rows = store.database.query("SELECT id, parents, description, created, sum FROM layers")
    for layer, parents, description, created, proof in rows:
        cancel.check()
        if proof not in {0, row_sum(layer, parents, description, created)}:
            mend = partial(store.collector.drop, layer, Eviction(cause="fsck"))
            yield Damage("layer", layer, "its row is not what was written", AGAIN), mend


def layer_blobs(cancel: Cancel, store: Store) -> Iterator[Found]:
    """Which blobs a layer has: there, of a known type, and one of them with the content that the layer is known by."""
    database = store.database
    rows = database.query(
        "SELECT layer, compression, layer_blobs.digest, layer_blobs.size, layer_blobs.media_type, blobs.size, diff_id"
        " FROM layer_blobs LEFT JOIN blobs USING(digest) LEFT JOIN layers ON layers.id=layer ORDER BY layer"
    )
    proven: set[str] = set()
    doubted: dict[str, str] = {}
    for layer, compression, digest, size, kind, real, diff_id in rows:
        cancel.check()
        cause = ""
        if real is None:
            cause = f"its blob {digest} is not there"
        elif diff_id is None:
            cause = "there is no such layer"
        elif size != real:
            cause = f"its blob {digest} has {real} bytes, not {size}"
        elif kind not in _LAYER_TYPES:
            cause = f"its blob {digest} has the unknown type {kind!r}"
        elif compression != CLAIMED and layer not in proven:  # what is only claimed is read before it is used
            if _content(cancel, store, Digest(digest)) == diff_id:
                proven.add(layer)
            else:
                doubted[layer] = diff_id
        if cause:
            sql = "DELETE FROM layer_blobs WHERE layer=? AND compression=?"
            yield Damage("layer", layer, cause, AGAIN), statement(database, sql, layer, compression)
    for layer in doubted.keys() - proven:
        sql = "DELETE FROM layer_blobs WHERE layer=?"
        cause = f"none of its blobs holds {doubted[layer] or 'a known content'}"
        yield Damage("layer", layer, cause, AGAIN), statement(database, sql, layer)


def _content(cancel: Cancel, store: Store, digest: Digest) -> str:
    """The digest of what is compressed in it; "" when it cannot be read (which `blobs` tells)."""
    try:
        fd = store.content.open(digest)
    except TrimaranError:
        return ""
    try:
        hasher = Digest("sha256:").hasher()
        read = decompress(partial(os.read, fd))
        while data := read(_CHUNK):
            cancel.check()
            hasher.update(data)
        return f"sha256:{hasher.hexdigest()}"
    except (OSError, TrimaranError):
        return ""
    finally:
        os.close(fd)


def records(cancel: Cancel, store: Store, looked: Looked) -> Iterator[Found]:
    """A record's key follows from what it says it read; what a process made and it promises has a row.

    Of what was copied a record is a promise without a row, where no image and no process needed it: it is made again by
    reading the same files (`Step.renewable`).
    """
    database = store.database
    layers = {layer for (layer,) in database.query("SELECT id FROM layers")} | {NOTHING}
    named: dict[str, set[str]] = {}
    for key, layer in database.query("SELECT key, layer FROM record_layers"):
        named.setdefault(key, set()).add(layer)
    sql = "SELECT key, op, body, created, place, lists, sum FROM records"
    for key, op, body, created, place, lists, proof in database.query(sql):
        cancel.check()
        looked.records += 1
        cause = _record_cause(key, op, body, layers, named.get(key, set()), store.layers.is_rendered)
        if not cause and proof not in {0, row_sum(key, body, created, place, lists)}:
            cause = "its row is not what was written"
        if cause and database.row("SELECT 1 FROM records WHERE key=?", (key,)):
            yield Damage("record", key, cause, AGAIN), partial(_bury, store, key)


def _record_cause(
    key: str, op: str, body: bytes, layers: set[str], named: set[str], is_rendered: Callable[[LayerId], bool]
) -> str:
    try:
        record = unpack(body, CacheRecord)
    except msgspec.MsgspecError as error:
        return f"it cannot be read: {error}"
    if (record.key, record.op) != (key, op):
        return "it is another step's"
    if record.account is not None and key_of(record.op, record.inputs) != key:  # older ones have older keys
        return "its key does not follow from what it read"
    promised = {LayerId(layer) for result in record.results for layer in result}
    if not noted_layers(record) <= named <= promised:  # older versions noted all of them
        return "the layers it promises are not those noted beside it"
    lost = [layer for layer in promised - layers if not is_rendered(layer)]
    if lost:
        return f"it promises layer {min(lost)}, which is not there"
    return ""


def _bury(store: Store, key: str) -> None:
    def job(connection: sqlite3.Connection) -> None:
        bury(connection, [key], Eviction(cause="fsck"))

    store.database.write_now(job)


def images(cancel: Cancel, store: Store) -> Iterator[Found]:
    """A named image's documents are here; its layers may be elsewhere."""
    database = store.database
    for name, body, created, proof in database.query("SELECT name, descriptor, created, sum FROM images"):
        cancel.check()
        if proof not in {0, row_sum(name, body, created)}:
            yield Damage("image", name, "its row is not what was written: build or pull it again"), None
            continue
        try:
            top = unpack(body, Descriptor)
        except msgspec.MsgspecError as error:
            yield Damage("image", name, f"its row cannot be read: {error}"), None
            continue
        row = database.row("SELECT size FROM blobs WHERE digest=?", (top.digest,))
        if row is None:
            yield Damage("image", name, f"its document {top.digest} is gone: build or pull it again"), None
        elif row[0] != top.size or not media_types.valid(top.media_type):
            yield Damage("image", name, f"its row does not fit its document {top.digest}"), None
        elif not database.row("SELECT 1 FROM image_blobs WHERE name=? AND digest=?", (name, top.digest)):
            yield Damage("image", name, "what it reaches is not noted beside it: build or pull it again"), None
