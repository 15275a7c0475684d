"""The tables of the store's two files, format by format. Loaded where they are made."""

from __future__ import annotations

SCHEMA = """
CREATE TABLE blobs(digest TEXT PRIMARY KEY, size INTEGER NOT NULL, media_type TEXT NOT NULL, created INTEGER NOT NULL,
    condemned INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE layers(id TEXT PRIMARY KEY, entries BLOB, diff_id TEXT NOT NULL DEFAULT '', remote BLOB,
    parents TEXT NOT NULL DEFAULT '', description TEXT NOT NULL DEFAULT '', created INTEGER NOT NULL,
    condemned INTEGER NOT NULL DEFAULT 0);
CREATE TABLE layer_blobs(layer TEXT NOT NULL, compression TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    media_type TEXT NOT NULL, PRIMARY KEY(layer, compression)) WITHOUT ROWID;
CREATE INDEX layer_blobs_by_digest ON layer_blobs(digest);
CREATE TABLE layer_files(layer TEXT NOT NULL, path TEXT NOT NULL, data BLOB, PRIMARY KEY(layer, path)) WITHOUT ROWID;
CREATE TABLE snapshots(number INTEGER PRIMARY KEY AUTOINCREMENT, layer TEXT NOT NULL, form TEXT NOT NULL,
    size INTEGER NOT NULL DEFAULT -1, boot TEXT NOT NULL, synced INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL);
CREATE UNIQUE INDEX snapshots_by_layer ON snapshots(layer, form);
CREATE TABLE origins(digest TEXT NOT NULL, repository TEXT NOT NULL, PRIMARY KEY(digest, repository)) WITHOUT ROWID;
CREATE TABLE records(key TEXT PRIMARY KEY, op TEXT NOT NULL, body BLOB NOT NULL, created INTEGER NOT NULL);
CREATE INDEX records_by_op ON records(op, created);
CREATE TABLE record_layers(key TEXT NOT NULL, layer TEXT NOT NULL, PRIMARY KEY(layer, key)) WITHOUT ROWID;
CREATE INDEX record_layers_by_key ON record_layers(key);
CREATE TABLE memos(stack TEXT NOT NULL, selector TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY(stack, selector)) WITHOUT ROWID;
CREATE TABLE images(name TEXT PRIMARY KEY, descriptor BLOB NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE image_blobs(name TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY(name, digest)) WITHOUT ROWID;
CREATE INDEX image_blobs_by_digest ON image_blobs(digest);
"""
"""Format 1."""

LATER = {
    # Keys and names of lists were made by other rules: nobody asks for them any more, and no list is what it is named
    # after. Images and what was pulled stay.
    1: """
DELETE FROM records;
DELETE FROM record_layers;
DELETE FROM memos;
DELETE FROM layers WHERE id LIKE 'sha256:%' AND id != diff_id;
DELETE FROM layer_blobs WHERE layer NOT IN (SELECT id FROM layers);
DELETE FROM layer_files WHERE layer NOT IN (SELECT id FROM layers);
DELETE FROM snapshots WHERE layer NOT IN (SELECT id FROM layers);
CREATE TABLE pages(id BLOB PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE tombstones(key TEXT PRIMARY KEY, place TEXT NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL)
    WITHOUT ROWID;
CREATE INDEX tombstones_by_place ON tombstones(place, at);
ALTER TABLE records ADD COLUMN place TEXT NOT NULL DEFAULT '';
ALTER TABLE records ADD COLUMN lists BLOB NOT NULL DEFAULT x'';
CREATE INDEX records_by_place ON records(place, created);
""",
    2: """
ALTER TABLE layers ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE images ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
""",
}
"""What each format has more than the one before it: a store of an older format gets it when it is opened."""

FAST_SCHEMA = """
CREATE TABLE fast.used(kind TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE fast.stat(device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY(device, inode)) WITHOUT ROWID;
"""
