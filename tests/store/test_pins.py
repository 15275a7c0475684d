from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from trimaran.aio import Cancel
from trimaran.store.locks import locked, release, try_lock
from trimaran.store.pins import Pins, dead_builds, live_pins, sweep
from trimaran.store.store import open_store


def prepared(tmp_path) -> str:
    for name in ("live", "temp"):
        (tmp_path / name).mkdir()
    return str(tmp_path)


def test_pins_are_seen_by_others_while_their_build_lives(tmp_path):
    root = prepared(tmp_path)
    first, second = Pins(root), Pins(root)
    first.pin("layer:a", "blob:b")
    first.pin("layer:a", "layer:c")
    second.pin("layer:d")
    assert live_pins(root) == {"layer:a", "blob:b", "layer:c", "layer:d"}
    first.close()
    first.close()
    assert live_pins(root) == {"layer:d"}
    second.close()
    assert os.listdir(root + "/live") == os.listdir(root + "/temp") == []


def test_a_build_that_begins_while_somebody_looks_who_lives(tmp_path, monkeypatch):
    """Who looks locks for a moment what nobody holds yet, or takes it for a dead build's and sweeps it."""
    root = prepared(tmp_path)
    random, first = os.urandom, iter([b"\1" * 8])
    monkeypatch.setattr(os, "urandom", lambda size: next(first, None) or random(size))
    looking = try_lock(f"{root}/live/{'01' * 8}")
    pins = Pins(root)
    pins.pin("layer:a")
    assert os.path.isdir(os.path.dirname(pins.temporary("blob")))
    os.close(looking)
    sweep(Cancel(), root, dead_builds(root))
    assert live_pins(root) == {"layer:a"}
    pins.close()
    assert os.listdir(root + "/live") == os.listdir(root + "/temp") == []


def test_who_pins_nothing_leaves_nothing(tmp_path):
    root = prepared(tmp_path)
    Pins(root).close()
    assert os.listdir(root + "/live") == []


def test_temp_paths_are_unique(tmp_path):
    root = prepared(tmp_path)
    pins, others = Pins(root), Pins(root)
    paths = {made.temporary("blob") for _ in range(10) for made in (pins, others)}
    assert len(paths) == 20
    assert all(os.path.isdir(os.path.dirname(path)) for path in paths)


def test_a_killed_builds_files_are_swept_and_a_living_ones_are_not(tmp_path):
    code = """
import os, sys
from trimaran.store.pins import Pins
pins = Pins(sys.argv[1])
pins.pin("layer:a")
path = pins.temporary("snapshot")
os.makedirs(path + "/deep/er")
os.chmod(path + "/deep", 0)
os.symlink("/etc", path + "/link")
os._exit(9)
"""
    root = prepared(tmp_path)
    alive = Pins(root)
    alive.pin("layer:b")
    assert subprocess.run([sys.executable, "-c", code, root]).returncode == 9
    assert live_pins(root) == {"layer:b"}
    dead = dead_builds(root)
    assert len(dead) == 1
    sweep(Cancel(), root, dead)
    assert len(os.listdir(root + "/live")) == len(os.listdir(root + "/temp")) == 1
    assert os.path.isdir("/etc")
    assert dead_builds(root) == []


def test_what_cannot_be_removed_at_the_end_is_left_to_the_next_sweep(tmp_path, monkeypatch):
    """A thread that still writes into the temp folder; without the live file nobody would look there again."""
    root = prepared(tmp_path)
    pins = Pins(root)
    folder = os.path.dirname(pins.temporary("x"))
    os.mkdir(f"{folder}.0.0")  # as a removal leaves it that was killed
    real = os.rmdir

    def written_meanwhile(name, **words):
        if name == os.path.basename(folder):
            (tmp_path / "temp" / name / "late").touch()
        real(name, **words)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", written_meanwhile)
        pins.close()
    assert os.listdir(f"{root}/temp") == [os.path.basename(folder)]
    dead = dead_builds(root)
    assert [name for name, _ in dead] == [os.path.basename(folder)]
    sweep(Cancel(), root, dead)
    assert os.listdir(f"{root}/temp") == []
    assert os.listdir(f"{root}/live") == []


def test_the_next_command_sweeps(tmp_path):
    with open_store(str(tmp_path)) as store:
        store.pins.pin("x")
        dead = store.pins
        folder = os.path.dirname(dead.temporary("x"))
        os.close(dead._fd)  # as if the process had been killed
        dead._fd = None
    assert os.path.exists(folder)
    with open_store(str(tmp_path)) as store:
        assert store._sweeper is not None
        store._sweeper.join()
    assert not os.path.exists(folder)
    assert os.listdir(tmp_path / "live") == []


def test_a_lock_file_does_not_outlive_its_use(tmp_path):
    path = str(tmp_path / "lock")
    held = try_lock(path)
    assert held is not None
    assert try_lock(path) is None
    release(held, path)
    assert not os.path.exists(path)
    assert try_lock(path) is not None


def test_locks_admit_one_at_a_time(tmp_path):
    path = str(tmp_path / "lock")
    inside = 0
    most = 0

    async def work():
        nonlocal inside, most
        async with locked(path):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    async def main():
        await asyncio.gather(*(work() for _ in range(20)))

    asyncio.run(main())
    assert most == 1
    assert not os.path.exists(path)


def test_locks_hold_between_processes(tmp_path):
    """Four processes count to 200 in one file, without another lock than this."""
    code = """
import asyncio, sys
from trimaran.store.locks import locked
async def main():
    for _ in range(50):
        async with locked(sys.argv[1] + "/lock"):
            with open(sys.argv[1] + "/count") as file: count = int(file.read())
            with open(sys.argv[1] + "/count", "w") as file: file.write(str(count + 1))
asyncio.run(main())
"""
    (tmp_path / "count").write_text("0")
    many = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in many] == [0] * 4
    assert (tmp_path / "count").read_text() == "200"


def test_temp_files_with_no_live_file_are_swept_and_those_of_builds_are_not(tmp_path):
    """By whatever is next: any command that writes, or prune; `du` has counted them."""
    root = str(tmp_path)
    with open_store(root) as builder:
        kept = builder.pins.temporary("blob")
        os.close(os.open(kept, os.O_CREAT | os.O_WRONLY))
        for name in ("0123456789abcdef", "0123456789abcdef.0.", "fedcba9876543210"):
            os.makedirs(f"{root}/temp/{name}/deep")
        with open(f"{root}/temp/fedcba9876543210/file", "wb") as file:
            file.write(bytes(300_000))
        (temporary,) = (each for each in builder.collector.usage(Cancel()) if each.id == "temporary-files")
        assert temporary.size >= 300_000
        with open_store(root) as other:
            other._sweeper.join()  # as long as a command takes; closing ends it
        assert os.listdir(f"{root}/temp") == [os.path.basename(os.path.dirname(kept))]
        os.mkdir(f"{root}/temp/fedcba9876543210")
        builder.collector.sweep(Cancel())
        assert os.listdir(f"{root}/temp") == [os.path.basename(os.path.dirname(kept))]
        assert os.path.exists(kept)
    assert os.listdir(f"{root}/temp") == []


def test_lock_files_of_the_dead_are_swept_and_held_ones_are_not(tmp_path):
    root = str(tmp_path)
    with open_store(root) as store:
        for name in ("a", "b"):
            os.close(os.open(f"{root}/locks/{name}", os.O_CREAT, 0o600))
        held = try_lock(f"{root}/locks/b")
        store.collector.sweep(Cancel())
        assert os.listdir(f"{root}/locks") == ["b"]
        release(held, f"{root}/locks/b")
