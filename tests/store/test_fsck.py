"""`fsck`: a sound store is called sound; a flipped bit is found wherever it is, and repairing takes nothing else."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess

import crash_worker
import pytest
from test_gc import folder_with
from test_layers import listed, remote_layer

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.errors import Conflict, NotFound, TrimaranError
from trimaran.solver.keys import key_of
from trimaran.solver.protocols import Account, CacheRecord, KeyInput
from trimaran.store.compression import Compression
from trimaran.store.damage import Damage
from trimaran.store.fsck import fsck
from trimaran.store.store import open_store

FILES = {
    "etc/passwd": b"root:x:0:0::/:/bin/sh\n",
    "big": b"y" * 200_000,
    **{f"many/{n}": b"%d" % n for n in range(300)},
}


async def fill(store) -> None:
    """One of everything: pulled, copied (folder and blob), run (with and without blob), records, an image, pages."""
    diff_id, descriptor, remote = remote_layer(crash_worker.FILES)
    pulled = store.layers.register_remote(diff_id, descriptor, remote, "registry/base")
    await store.layers.folder(pulled)
    copied = await store.layers.add(*listed(FILES))
    await store.layers.folder(copied)
    await store.layers.blob(copied, Compression("zstd"))
    await store.layers.settle([copied])
    run = await store.layers.add_upper(folder_with(store, "made"), (pulled, copied), description="RUN make")
    await store.layers.entries(run)
    exported = await store.layers.add_upper(folder_with(store, "exported"), (pulled, copied, run))
    await store.layers.blob(exported, Compression())
    op = Digest.of(b"op")
    inputs = (KeyInput("rootfs 0", copied),)
    store.records.save(
        CacheRecord(key=key_of(op, inputs), op=op, inputs=inputs, results=((pulled, copied, run),), account=Account())
    )
    await crash_worker.named(store)
    await store.sync()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> str:
    root = str(tmp_path_factory.mktemp("fsck") / "store")
    with open_store(root) as store:
        asyncio.run(fill(store))
    with sqlite3.connect(f"{root}/store.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert check(root).unknown_files == 0, "the build has hashed what its steps wrote"
    return root


@pytest.fixture
def root(whole, tmp_path) -> str:
    subprocess.run(["cp", "-a", whole, str(tmp_path / "store")], check=True)
    return str(tmp_path / "store")


def check(root: str, *, repair: bool = False):
    told: list[Damage] = []
    report = fsck(Cancel(), root, repair=repair, tell=told.append)
    assert tuple(told) == report.damages
    return report


def again(root: str) -> None:
    """What was dropped can be had again, and then all is well."""
    with open_store(root) as store:
        asyncio.run(fill(store))
    assert check(root).damages == ()


def flip(path: str, position: int, bit: int = 0) -> None:
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def files(root: str, below: str) -> list[str]:
    found = [os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(root, below)) for name in names]
    return sorted(path for path in found if os.path.isfile(path) and os.path.getsize(path))


def test_a_sound_store_is_sound(root):
    report = check(root)
    assert (report.damages, report.unknown_files) == ((), 0)
    assert min(report.blobs, report.snapshots, report.records) >= 1
    before = {path: os.path.getsize(path) for part in ("blobs", "snapshots") for path in files(root, part)}
    assert check(root, repair=True).damages == ()
    assert {path: os.path.getsize(path) for part in ("blobs", "snapshots") for path in files(root, part)} == before


def test_what_a_build_had_no_time_to_read_is_read_once_and_then_compared(root):
    with sqlite3.connect(f"{root}/store.db") as database:
        database.execute("UPDATE layers SET entries=NULL WHERE id LIKE 'run-%'")
    report = check(root)
    assert (report.damages, report.unlisted) == ((), 0)
    assert report.unknown_files == 2, "made and exported"
    assert check(root).unknown_files == 0
    path = next(path for path in files(root, "snapshots") if path.endswith("/made"))
    flip(path, 0)
    (damage,) = check(root).damages
    assert "'/made' has other content than it had" in damage.cause
    with sqlite3.connect(f"{root}/store.db") as database:
        database.execute("UPDATE layers SET entries=NULL WHERE id NOT LIKE 'run-%'")
    assert check(root).unlisted == 2, "pulled and copied: nothing of this machine says what was in them but their blobs"


def test_there_has_to_be_a_store(tmp_path):
    with pytest.raises(NotFound):
        check(str(tmp_path))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("part", "kind"), [("blobs", "blob"), ("snapshots", "snapshot")])
def test_a_flipped_bit_in_a_file_is_found_and_nothing_else_is_taken(root, part, kind, seed):
    chance = random.Random(seed)
    path = chance.choice(files(root, part))
    flip(path, chance.randrange(os.path.getsize(path)), chance.randrange(8))
    (found,) = (damage for damage in check(root).damages if damage.part == kind)
    number = os.path.relpath(path, f"{root}/{part}").split(os.sep)
    assert found.name.startswith(number[0] if part == "snapshots" else f"sha256:{number[1]}")
    lost = path if part == "blobs" else os.path.join(root, part, number[0])
    kept = {each for each in files(root, "blobs") + files(root, "snapshots") if not each.startswith(lost)}
    report = check(root, repair=True)
    assert report.repaired
    left = set(files(root, "blobs") + files(root, "snapshots"))
    assert kept - left <= {each for each in kept if kind == "blob"}, (
        "only a layer that lost its last bytes goes with it"
    )
    assert not os.path.exists(lost)
    assert all(damage.part == "image" for damage in check(root).damages)
    again(root)


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("missing", os.unlink),
        ("shorter", lambda path: os.truncate(path, 10)),
        ("longer", lambda path: os.truncate(path, 300_000)),
        ("another mode", lambda path: os.chmod(path, 0o601)),
    ],
)
def test_other_damage_to_files(root, what, spoil):
    path = next(path for path in files(root, "snapshots") if path.endswith("/big"))
    spoil(path)
    (damage,) = check(root).damages
    assert damage.part == "snapshot"
    assert "'/big'" in damage.cause
    assert check(root, repair=True).left == 0
    again(root)


def test_a_folder_that_became_a_link_is_damage_and_is_not_followed(root, tmp_path):
    """However equal what it leads to: nothing outside of the store is looked at."""
    many = next(os.path.dirname(path) for path in files(root, "snapshots") if path.endswith("/many/1"))
    outside = tmp_path / "outside"
    os.rename(many, outside)
    os.symlink(outside, many)
    for each in outside.iterdir():
        os.chmod(each, 0)
    (damage,) = check(root).damages
    assert "'/many' is something else than it was" in damage.cause
    check(root, repair=True)
    assert len(list(outside.iterdir())) == 300, "nor is anything outside removed"


COLUMNS = [
    ("blobs", "size", "blob"),
    ("blobs", "digest", "blob"),
    ("layers", "id", None),
    ("layers", "entries", "list"),
    ("layers", "diff_id", "layer"),
    ("layers", "parents", "layer"),
    ("layers", "description", "layer"),
    ("layers", "created", "layer"),
    ("pages", "body", "list"),
    ("pages", "id", "list"),
    ("layer_blobs", "layer", None),
    ("layer_blobs", "digest", "layer"),
    ("layer_blobs", "size", "layer"),
    ("layer_blobs", "media_type", "layer"),
    ("snapshots", "layer", "leftover"),
    ("records", "key", "record"),
    ("records", "op", "record"),
    ("records", "body", "record"),
    ("records", "created", "record"),
    ("record_layers", "layer", "record"),
    ("images", "descriptor", "image"),
    ("images", "created", "image"),
]


@pytest.mark.parametrize(("table", "column", "part"), COLUMNS)
def test_a_flipped_bit_in_a_row_is_found(root, table, column, part):
    chance = random.Random(f"{table}.{column}")
    with sqlite3.connect(f"{root}/store.db") as database:
        database.text_factory = bytes
        rows = database.execute(
            f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL AND length({column}) > 0"
        ).fetchall()
        (value,) = chance.choice(rows)
        if isinstance(value, int):
            changed = value ^ 1 << chance.randrange(10)
        else:
            raw = bytearray(value)
            raw[chance.randrange(len(raw) // 4, len(raw))] ^= 1 << chance.randrange(3)
            changed = (
                bytes(raw) if column in {"entries", "body", "descriptor"} or table == "pages" else raw.decode("latin-1")
            )
        original = (
            value
            if isinstance(value, int) or table == "pages" or column in {"entries", "body", "descriptor"}
            else value.decode()
        )
        cursor = database.execute(f"UPDATE {table} SET {column}=? WHERE {column}=?", (changed, original))
        assert cursor.rowcount >= 1
    report = check(root)
    found = {damage.part for damage in report.damages} | ({"leftover"} if report.leftovers else set())
    assert found
    assert part is None or part in found
    report = check(root, repair=True)
    assert report.left == sum(not damage.mend for damage in report.damages)
    with open_store(root) as store:
        asyncio.run(fill(store))
    assert {damage.part for damage in check(root).damages} <= {"image"}


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_in_the_database_file_never_gives_wrong_bytes(root, seed):
    """Found, or harmless: afterwards the store opens, and what it serves is right."""
    chance = random.Random(seed)
    path = f"{root}/store.db"
    flip(path, chance.randrange(100, os.path.getsize(path)), chance.randrange(8))
    try:
        check(root, repair=True)
    except Conflict:  # in the few bytes of the header that say whose it is
        return
    assert check(root).left == sum(damage.part == "image" for damage in check(root).damages)
    with open_store(root) as store:
        asyncio.run(fill(store))
        for (layer,) in store.database.query("SELECT id FROM layers WHERE id LIKE 'sha256:%'"):
            if store.layers.present(layer):
                with open(os.path.join(asyncio.run(store.layers.folder(layer)), "big"), "rb") as file:
                    assert file.read() in {FILES["big"], crash_worker.FILES["big"]}


@pytest.mark.parametrize("where", [0, 1])
def test_a_database_that_is_none_any_more_is_begun_anew(root, where):
    path = f"{root}/store.db"
    with open(path, "r+b") as file:
        file.seek(where * 4096)
        file.write(b"\xa5" * 4096)
    (damage, *_) = check(root).damages
    assert (damage.part, damage.name) == ("database", "store.db")
    report = check(root, repair=True)
    assert all(damage.part in {"database", "image", "list", "layer", "snapshot", "record"} for damage in report.damages)
    again(root)
    assert os.path.exists(f"{path}.damaged"), "kept until the store was found sound"
    check(root, repair=True)
    assert not os.path.exists(f"{path}.damaged")


def test_a_broken_database_is_not_taken_from_a_running_build(root):
    with open_store(root) as store:
        store.content.put(b"{}", "application/json")
        with open(f"{root}/store.db", "r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * 8192)
        with pytest.raises(TrimaranError, match="a build is running|malformed"):
            check(root, repair=True)


def test_a_list_that_is_damaged_is_a_miss_for_builds(root):
    with sqlite3.connect(f"{root}/store.db") as database:
        database.execute("UPDATE layers SET entries=x'78010000' WHERE entries IS NOT NULL")
    with open_store(root) as store:
        read = 0
        for (layer,) in store.database.query("SELECT id FROM layers"):
            if store.layers.present(layer):
                read += 1
                assert asyncio.run(store.layers.entries(layer))
        assert read > 0, "a list is made again from where the bytes are"
