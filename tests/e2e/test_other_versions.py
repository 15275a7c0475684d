"""Stores that another Trimaran wrote: an earlier one's is carried over or used as it is, a later one's is left alone.

The archives in goldens/stores were written by the Trimaran of their day (goldens/stores/make.sh).
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from trimaran.store.database import VERSION

STORES = Path(__file__).parents[1] / "goldens/stores"
FORMATS = sorted(path.name.partition("-")[2].partition(".")[0] for path in STORES.glob("format-*.tar.gz"))
NEWEST = str(VERSION)


@pytest.fixture
def earlier(request, trimaran, tmp_path) -> Path:
    """The folder with the context; the store is the program's, `images` what its images were."""
    # Times are kept to the nanosecond: Python's tarfile has no such precision.
    subprocess.run(["tar", "-xzf", STORES / f"format-{request.param}.tar.gz"], cwd=tmp_path, check=True)
    os.rename(tmp_path / "store", trimaran.root)
    return tmp_path


def test_a_store_of_every_format_is_kept():
    """`goldens/stores/make.sh HEAD NUMBER PYTHON` makes the one of today: it shows what changes without a new number."""
    assert FORMATS == [str(number + 1) for number in range(VERSION)]


def listed(trimaran) -> str:
    return trimaran("images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}").stdout


@pytest.mark.root
@pytest.mark.parametrize("earlier", FORMATS, indirect=True)
def test_an_earlier_store_goes_on(trimaran, earlier):
    """Its images are there with their bytes, what it had cached is a hit or made again, and nothing is damaged."""
    images = (earlier / "images").read_text()
    assert listed(trimaran) == images
    trimaran("fsck")
    trimaran("build", "-t", "kept:again", earlier / "context")
    out = trimaran.home / "out"
    trimaran("build", "-o", str(out), earlier / "context")
    assert (out / "srv/made").read_text() == "made by the tool\n"
    assert [(out / "srv/data" / name).read_text() for name in ("one", "two")] == ["one\n", "two\n"]
    assert "/cache" in trimaran("cache-mounts", "ls").stdout
    assert set(images.splitlines()) <= set(listed(trimaran).splitlines())
    trimaran("fsck")
    trimaran("rmi", "kept:1", "second:2", "kept:again")
    trimaran("prune", "-af")
    assert listed(trimaran) == ""
    assert not list((trimaran.root / "blobs/sha256").iterdir())


@pytest.mark.root
@pytest.mark.parametrize("earlier", [NEWEST], indirect=True)
def test_the_last_store_has_every_hit(trimaran, earlier):
    """The format that is still written: what was cached is, and the result is the same to the last bit."""
    trimaran("build", "-t", "kept:again", "--fail-on-miss", earlier / "context")
    now = dict(line.split() for line in listed(trimaran).splitlines())
    before = dict(line.split() for line in (earlier / "images").read_text().splitlines())
    assert layers(trimaran, now["kept:again"]) == layers(trimaran, before["kept:1"])


def layers(trimaran, digest: str) -> list[str]:
    raw = (trimaran.root / "blobs/sha256" / digest.partition(":")[2]).read_bytes()
    document = json.loads(raw)
    if "manifests" in document:
        return layers(trimaran, document["manifests"][0]["digest"])
    return [each["digest"] for each in document["layers"]]


COMMANDS = (
    "build -o type=cacheonly CONTEXT",
    "images",
    "du",
    "prune -af",
    "fsck",
    "fsck --repair",
    "rmi kept:1",
    "run kept:1",
    "push kept:1",
    "verify kept:1",
    "cache-mounts ls",
    "cache-mounts rm x",
)


@pytest.mark.parametrize("earlier", [NEWEST], indirect=True)
def test_a_later_store_is_left_alone(trimaran, earlier):
    """Every command says so in one line, and not a byte of it is another one afterwards."""
    connection = sqlite3.connect(trimaran.root / "store.db")
    connection.execute("PRAGMA user_version=99")
    connection.execute("CREATE TABLE of_the_future(x)")
    connection.close()
    before = contents(trimaran.root)
    for line in COMMANDS:
        words = [str(earlier / "context") if word == "CONTEXT" else word for word in line.split()]
        said = trimaran(*words, exit_code=125 if words[0] == "run" else 1).stderr
        assert said.count("ERROR") == 1, line
        assert (
            f'open store "{trimaran.root}": it has format 99, this Trimaran reads format {NEWEST}\nhint: use' in said
        ), line
        assert contents(trimaran.root) == before, line


def contents(root: Path) -> dict[str, str]:
    """What every file holds, but for the database's helpers, which SQLite makes as it opens it."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
        if not path.name.endswith(("-wal", "-shm")) and path.name != "open.lock"
    }


@pytest.mark.parametrize("earlier", [NEWEST], indirect=True)
def test_what_may_be_lost_is_made_anew(trimaran, earlier):
    """`fast.db` of another version promised nothing."""
    connection = sqlite3.connect(trimaran.root / "fast.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    trimaran("build", "-t", "kept:again", "--fail-on-miss", earlier / "context")
    connection = sqlite3.connect(trimaran.root / "fast.db")
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
    connection.close()


@pytest.mark.parametrize("earlier", [NEWEST], indirect=True)
def test_builds_of_another_version(trimaran, earlier):
    """Logs of earlier builds are shown; what a later version wrote about one is never half understood."""
    assert "made by the tool" in trimaran("logs", "^1").stdout
    assert "/trimaran-format/context (context) is not there" in trimaran("verify", "kept:1", exit_code=1).stderr
    builds = [path for path in (trimaran.root / "builds").iterdir() if (path / "made.msgpack").exists()]
    assert builds
    import msgspec

    for path in builds:
        made = msgspec.msgpack.decode((path / "made.msgpack").read_bytes())
        made["request"]["of_the_future"] = "changes what is built"
        (path / "made.msgpack").write_bytes(msgspec.msgpack.encode(made))
    assert "another version of Trimaran wrote down" in trimaran("verify", "kept:1", exit_code=1).stderr
    assert "sound" in trimaran("fsck").stdout
