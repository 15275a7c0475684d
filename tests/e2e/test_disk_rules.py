"""What goes first: buildx's filters of `prune`, and buildkitd's rules in the settings, on a store that was really filled."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from stage.contexts import Context
from stage.program import Trimaran

pytestmark = pytest.mark.root
TEXT = """FROM alpine
RUN --mount=type=cache,target=/c head -c 2000000 /dev/urandom > /c/cached
RUN head -c 3000000 /dev/urandom > /first
RUN head -c 3000000 /dev/urandom > /second
"""


def rows(command: Trimaran, *words: str) -> dict[str, dict[str, Any]]:
    """Each record of `du`, by what it is for."""
    found = (json.loads(line) for line in command("du", "--format", "json", *words).stdout.splitlines())
    return {row["Description"]: row for row in found}


@pytest.fixture
def filled(trimaran: Trimaran, bases: str, context: Context) -> Trimaran:
    context.dockerfile(TEXT)
    trimaran("build", "-o", "type=cacheonly", ".", cwd=context.folder)
    return trimaran


def test_each_filter_of_buildx(filled: Trimaran) -> None:
    """What `prune --dry-run` would take is what the filter says, and what `du` shows of it."""
    every = rows(filled)
    layers = {text: row for text, row in every.items() if row["Type"] == "regular"}
    (first,) = (row["ID"] for text, row in layers.items() if "/first" in text)
    (second,) = (row["ID"] for text, row in layers.items() if "/second" in text)
    (mount,) = (row["ID"] for row in every.values() if row["Type"] == "exec.cachemount")
    regular = {row["ID"] for row in layers.values()}
    expected = {
        f"id={second}": {second},
        f"id!={second}": (regular | {mount}) - {second},
        f"id~={second[:8]}": {second},
        "description~=head.*second": {second},
        f"parents={first}": {second},
        "type=exec.cachemount": {mount},
        "type==regular": regular,
        "mutable": {mount},
        "mutable=true": {mount},
        "immutable": regular,
        "inuse=true": set(),
        "inuse!=true": regular | {mount},
        "shared": set(),
        "private": regular | {mount},
        "type=regular,description~=second": {second},
    }
    for text, wanted in expected.items():
        found = {row["ID"] for row in rows(filled, "--filter", text).values() if row["Type"] != "internal"}
        assert found == wanted, text
        said = filled("prune", "--dry-run", "--all", "--filter", text).stdout
        taken = {name for name in regular | {mount} if re.search(rf"^{re.escape(name)}\*?\s", said, re.M)}
        below = regular - {second} if second not in wanted else set()  # a stack goes from its top
        assert taken >= wanted - below, text
    assert filled("prune", "--dry-run", "--all", "--filter", "until=24h").stdout.count("\nrun-") == 0
    for text in ("colour=red", "id~=("):
        assert "parse filter" in filled("prune", "--force", "--filter", text, exit_code=1).stderr
    assert rows(filled).keys() == every.keys(), "nothing went"
    filled("prune", "--force", "--filter", "type=exec.cachemount")
    assert {row["ID"] for row in rows(filled).values() if row["Type"] != "internal"} == regular


def test_rules_of_buildkitd_in_the_settings(filled: Trimaran, bases: str, context: Context) -> None:
    """Applied in order when a build ends: cache mounts go by the first rule, the least used layer by the second."""
    kept = filled.settings.read_text()
    rules = """
    [worker.oci]
    gc = true
    [[worker.oci.gcpolicy]]
    filters = ["type==exec.cachemount"]
    maxUsedSpace = 1000
    [[worker.oci.gcpolicy]]
    all = true
    reservedSpace = "1MB"
    maxUsedSpace = "8MB"
    keepDuration = 0
    """
    filled.settings.write_text(kept + rules)
    (filled.root / "collected").unlink(missing_ok=True)
    other = Context(context.folder.parent / "other").dockerfile("FROM alpine\nRUN echo other > /other\n")
    filled("build", "-o", "type=cacheonly", ".", cwd=other.folder)
    left = rows(filled)
    assert not [row for row in left.values() if row["Type"] == "exec.cachemount"]
    assert any("/other" in text for text in left)
    assert any("/first" in text for text in left), "a stack goes from its top"
    assert not any("/second" in text for text in left)
    (filled.root / "collected").unlink()
    filled.settings.write_text(kept + "[worker]\ngc = false\nmaxUsedSpace = 1000\n")
    filled("build", "-o", "type=cacheonly", ".", cwd=other.folder)
    assert rows(filled).keys() >= left.keys(), "no collection at all"


SLOW = """FROM alpine
RUN sleep 1.2; head -c 3000000 /dev/urandom > /slow
RUN head -c 2000000 /dev/urandom > /quick
"""


def test_a_dry_run_says_what_goes_and_the_seconds_to_make_it_again(
    trimaran: Trimaran, bases: str, context: Context
) -> None:
    """As long as the steps took; nothing goes by it, and then all that was said, and those steps run again."""
    words = ("build", "--progress=plain", "-o", "type=cacheonly", ".")
    trimaran(*words, cwd=context.dockerfile(SLOW).folder)
    said = trimaran("prune", "--dry-run", "--all").stdout
    costs = {text: float(cost) for cost, text in re.findall(r"\t([\d.]+)s\t.*(RUN .*)$", said, re.M)}
    slow, quick = (next(text for text in costs if f"> /{name}" in text) for name in ("slow", "quick"))
    assert 1.2 <= costs[slow] < 20
    assert costs[quick] < costs[slow]
    (total,) = re.findall(r"^To make again:\t([\d.]+)s$", said, re.M)
    assert abs(float(total) - sum(costs.values())) < 0.2
    trimaran(*words, "--fail-on-miss", cwd=context.folder)
    before = taken(trimaran.root)
    (promised,) = re.findall(r"^Would free:\t(.*)$", said, re.M)
    (freed,) = re.findall(r"^Total:\t(.*)$", trimaran("prune", "--force", "--all").stdout, re.M)
    assert abs(size(freed) - size(promised)) < 100_000
    assert abs(before - taken(trimaran.root) - size(promised)) < MIB
    begun = time.monotonic()
    again = trimaran(*words, cwd=context.folder).stderr
    assert time.monotonic() - begun > 1.2
    assert "CACHED" not in again


MIB = 1 << 20


def size(text: str) -> float:
    """Of what `du` and `prune` say: decimal units."""
    number, unit = re.fullmatch(r"([\d.]+)([kMG]?)B", text).groups()  # type: ignore[union-attr]
    return float(number) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit]


def test_du_is_what_the_disk_says(either: Trimaran, bases: str, context: Context) -> None:
    """After builds of all kinds: an image, a cache mount, a sparse file, hard links, a long log, a step that failed."""
    context.write("copied", os.urandom(2 * MIB))
    text = (
        "FROM alpine\nRUN --mount=type=cache,target=/c head -c 3000000 /dev/urandom > /c/kept\n"
        "RUN truncate -s 1G /sparse && head -c 2000000 /dev/urandom > /one && ln /one /two\n"
        "COPY copied /copied\nRUN yes said | head -c 2000000\n"
    )
    either("build", "-t", "app", ".", cwd=context.dockerfile(text).folder)
    context.dockerfile(text + "RUN head -c 2000000 /dev/urandom > /lost; false\n")
    either("build", ".", cwd=context.folder, exit_code=1)
    for _ in range(2):
        (total,) = re.findall(r"^Total:\s+(\S+)$", either("du").stdout, re.M)
        assert abs(size(total) - taken(either.root)) < 150_000, "but for the databases while they are asked"
        either("prune", "--force", "--all")


def taken(path: Path) -> int:
    """Bytes on disk, each file once."""
    said = subprocess.run(["du", "-s", "-B1", path], check=True, capture_output=True, text=True).stdout
    return int(said.split()[0])


def test_logs_count_under_the_limit_and_go_before_it_is_reached(
    trimaran: Trimaran, bases: str, context: Context
) -> None:
    """The oldest first: a store full of what builds have said would else never build anything again."""
    context.dockerfile("FROM alpine\nARG N\nRUN echo $N; yes 0123456789abcdef | head -c 6000000\n")
    words = ("build", "-q", "--cache-limit=20mb", "-o", "type=cacheonly", ".")
    for number in range(5):
        trimaran(*words, f"--build-arg=N={number}", cwd=context.folder)
        assert taken(trimaran.root) < 21 * MIB
    kept = trimaran("logs", "--list").stdout.splitlines()[1:]
    assert 1 <= len(kept) < 5
    assert trimaran("logs", "^0", "RUN").stdout.startswith("4\n0123456789abcdef\n"), "the newest is still there"
    trimaran(*words, "--build-arg=N=4", "--fail-on-miss", cwd=context.folder)


def test_one_changed_file_of_20000_costs_kilobytes(trimaran: Trimaran, context: Context) -> None:
    """All that the store keeps to know and to explain the step: its databases, whose free pages are given back."""

    def databases() -> int:
        for name in ("store.db", "fast.db"):
            with sqlite3.connect(trimaran.root / name) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return sum(path.stat().st_blocks * 512 for path in trimaran.root.glob("*.db*"))

    for number in range(20_000):
        context.write(f"src/{number % 200}/file-{number}", str(number))
    context.dockerfile("FROM scratch\nCOPY src /src\n")
    words = ("build", "--progress=plain", "-o", "type=cacheonly", ".")
    time.sleep(2.5)  # then no file is too new for its stat to be written down
    trimaran(*words, cwd=context.folder)
    first = databases()
    context.write("src/7/file-7", "changed")
    said = trimaran(*words, cwd=context.folder).stderr
    assert "not cached: 1 of 20000 files changed: src/7/file-7 (content)" in said
    assert databases() - first < 100_000 < first // 10


class Watcher(threading.Thread):
    """The most that a folder took on disk while it was looked at, every few milliseconds."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.most = folder, 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.02):
            if self.folder.exists():
                self.most = max(self.most, _seen(self.folder))


def _seen(folder: Path) -> int:
    sizes: dict[int, int] = {}
    for path, folders, names in os.walk(folder):
        for name in (*folders, *names):
            with suppress(OSError):
                status = os.lstat(os.path.join(path, name))
                sizes[status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


LIMIT = 150 * MIB
OVER = 48 * MIB
"""What a step may write between two looks, on a machine where they are late; without halting it was 400 MiB."""


@pytest.mark.parametrize("where", ["", "--mount=type=cache,target=/cache "])
def test_a_step_that_writes_without_end_is_stopped_at_the_limit(
    trimaran: Trimaran, bases: str, context: Context, where: str
) -> None:
    target = "/cache/large" if where else "/large"
    context.dockerfile(f"FROM alpine\nRUN {where}dd if=/dev/zero of={target} bs=1M count=900\n")
    with Watcher(trimaran.root) as seen:
        said = trimaran("build", "--cache-limit=150m", "-o", "type=cacheonly", ".", cwd=context.folder, exit_code=1)
    assert "run the build: the cache limit of 157.3MB is reached" in said.stderr
    assert seen.most < LIMIT + OVER
    assert taken(trimaran.root) < LIMIT


def test_a_step_is_halted_while_what_is_used_least_goes_for_it(
    trimaran: Trimaran, bases: str, context: Context
) -> None:
    """And its root, which shows all layers below it, is not counted: two thirds of the limit are in those."""
    lines = ["FROM alpine", *(f"RUN dd if=/dev/zero of=/old{number} bs=1M count=20" for number in range(5))]
    trimaran("build", "-o", "type=cacheonly", ".", cwd=context.dockerfile("\n".join(lines) + "\n").folder)
    words = ("build", "--cache-limit=150m", "-o", "type=cacheonly", ".")
    lines = ["FROM alpine", "RUN dd if=/dev/zero of=/a bs=1M count=90", "RUN dd if=/dev/zero of=/b bs=1M count=40"]
    with Watcher(trimaran.root) as seen:
        trimaran(*words, cwd=context.dockerfile("\n".join(lines) + "\n").folder)
    assert seen.most < LIMIT + OVER
    assert taken(trimaran.root) < LIMIT
    trimaran(*words, "--fail-on-miss", cwd=context.folder)
