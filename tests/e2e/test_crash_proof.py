"""One store that many programs use, some of them killed; machines that went down; clocks that jump; bits that flip."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from stage.answers import Answers
from stage.contexts import Context
from stage.program import TIMEOUT, Trimaran
from stage.watching import Screen, until

DAY = 86_400


@pytest.mark.root
@pytest.mark.timeout(240)
def test_sixteen_builds_of_which_some_are_killed(trimaran: Trimaran, bases: str, context: Context) -> None:
    """The step runs once, and once more at most for each that died; all who live have the same result of it."""
    with Answers(held=1).serving() as answers:
        context.dockerfile(
            f"FROM alpine\nRUN wget -q -O /said {answers.url}/step\nRUN md5sum /said > /sum\nCMD cat /said /sum\n"
        )
        words = ("build", "-q", "-t", "one", ".")
        running = [trimaran.start(*words, cwd=context.folder) for _ in range(16)]
        until(lambda: answers.asked, "the step runs")
        for process in running[::4]:
            process.kill()
        answers.go.set()
        ended = [(process.communicate(timeout=TIMEOUT), process.returncode) for process in running]
    lived = [(out.strip(), code) for (out, _), code in ended if code != -signal.SIGKILL]
    assert len(lived) >= 12
    assert {code for _, code in lived} == {0}, ended
    assert len({digest for digest, _ in lived}) == 1
    assert len(answers.asked) <= 1 + len(ended) - len(lived)
    said = trimaran("build", "--progress=plain", "--fail-on-miss", "-t", "one", ".", cwd=context.folder).stderr
    assert said.count("CACHED") == 3
    assert sound(trimaran)


def sound(command: Trimaran) -> bool:
    checked = json.loads(command("fsck", "--json", exit_code=None).stdout)
    return not checked["damages"]


STAGES = """FROM alpine AS tools
RUN mkdir /t && echo used > /t/used && echo unread > /t/unread
FROM alpine
COPY --from=tools /t/used /
RUN echo made > /made
CMD cat /used /made
"""


def folders_with(command: Trimaran, name: str) -> list[Path]:
    return [path for path in (command.root / "snapshots").glob(f"*/{name}") if path.is_file()]


@pytest.mark.root
@pytest.mark.rootless
def test_a_machine_that_went_down_before_the_disk_was_synced(either: Trimaran, bases: str, context: Context) -> None:
    """Folders of another boot that nobody synced are misses, whatever is in them; what was synced is a hit."""
    context.dockerfile(STAGES)
    digest = either("build", "-q", "--reproducible", "--target=tools", ".", cwd=context.folder).stdout
    environment = {"TRIMARAN_FAILPOINT": "before snapshots sync=kill@1"}
    either("build", "--reproducible", ".", cwd=context.folder, env=environment, exit_code=None)
    (lost,) = folders_with(either, "made")
    lost.write_bytes(b"\0" * 5)  # as a file is of which only the length came to the disk
    with sqlite3.connect(either.root / "store.db") as database:
        changed = database.execute("UPDATE snapshots SET boot='another boot'").rowcount
        assert changed > database.execute("SELECT count(*) FROM snapshots WHERE synced").fetchone()[0]
    said = either("build", "--progress=plain", "--reproducible", "-t", "app", ".", cwd=context.folder).stderr
    assert re.search(r"^#(\d+) \[tools 2/2\] RUN mkdir.*\n#\1 CACHED", said, re.M), "that was on disk"
    assert not re.search(r"^#(\d+) .*RUN echo made.*\n#\1 CACHED", said, re.M), "that was not"
    assert either("run", "app").stdout == "used\nmade\n"
    assert either("build", "-q", "--reproducible", "--target=tools", ".", cwd=context.folder).stdout == digest
    assert sound(either)


CLOCK = """import os, time
seconds, nanoseconds, ahead = time.time, time.time_ns, float(os.environ["AHEAD"])
time.time, time.time_ns = lambda: seconds() + ahead, lambda: nanoseconds() + int(ahead * 1e9)
"""
"""A `sitecustomize` that lets Python's clock go wrong; the kernel's, which dates files, stays."""


@pytest.mark.root
@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_clock_that_jumps_by_a_day(trimaran: Trimaran, bases: str, context: Context, jump: int) -> None:
    """Nothing crashes, nobody's age is negative, and what was used last is not what goes first."""
    folder = trimaran.home / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    wrong = {"PYTHONPATH": str(folder), "AHEAD": str(jump)}
    texts = [f"FROM alpine\nRUN head -c 3000000 /dev/urandom > /{name}\n" for name in ("old", "new")]
    words = ("build", "--progress=plain", "--output=type=cacheonly", ".")
    before, after = ({}, wrong)
    for text, environment in zip(texts, (before, after), strict=True):
        context.dockerfile(text)
        trimaran(*words, cwd=context.folder, env=environment)
    for environment in (before, after):
        for command in (("logs", "--list"), ("du", "--verbose"), ("explain",), ("prune", "--dry-run", "--force")):
            said = trimaran(*command, env=environment)
            assert not re.search(r"(^|\s)-\d", said.stdout), said.stdout
            assert "Traceback" not in said.stderr
    taken = subprocess.run(["du", "-s", "-B1", trimaran.root], check=True, capture_output=True, text=True).stdout
    trimaran("prune", "--force", "--filter=until=12h", env=after)
    assert folders_with(trimaran, "new"), "used a moment ago, whatever the clock said before"
    trimaran("prune", "--force", f"--max-used-space={int(taken.split()[0]) - 1_000_000}", env=after)
    assert folders_with(trimaran, "new")
    assert not folders_with(trimaran, "old"), "it was used before the other"
    trimaran(*words, "--fail-on-miss", cwd=context.folder)


@pytest.mark.root
@pytest.mark.rootless
def test_a_flipped_bit_in_what_nobody_read_is_found_at_once(either: Trimaran, bases: str, context: Context) -> None:
    """A stage's file that is in no image, and the list of which nobody asked for: flipped before the first `fsck`."""
    context.dockerfile(STAGES)
    digest = either("build", "-q", "--reproducible", "-t", "app", ".", cwd=context.folder).stdout
    (path,) = folders_with(either, "t/unread")
    status = path.stat()
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 4]) + data[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = json.loads(either("fsck", "--json", exit_code=4).stdout)
    assert found["unknown_files"] == 0
    (damage,) = found["damages"]
    assert "'/t/unread' has other content than it had" in damage["cause"]
    either("fsck", "--repair")
    assert not folders_with(either, "t/unread")
    again = either("build", "-q", "--reproducible", "-t", "app", "--no-cache", ".", cwd=context.folder).stdout
    assert again == digest
    assert sound(either)


@pytest.mark.root
def test_flipped_bits_that_a_build_meets_cost_it_time_alone(trimaran: Trimaran, bases: str, context: Context) -> None:
    """In each document of its own and of its base's, and in a folder that is copied from: all is had again."""
    context.dockerfile(STAGES)
    words = ("build", "-q", "--reproducible", "-t", "app", ".")
    digest = trimaran(*words, cwd=context.folder).stdout
    documents = [path for path in (trimaran.root / "blobs/sha256").iterdir() if path.read_bytes().startswith(b"{")]
    assert len(documents) >= 4
    for path in [*folders_with(trimaran, "t/used"), *documents]:
        status, data = path.stat(), bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert trimaran(*words, cwd=context.folder).stdout == digest
    context.dockerfile(STAGES + "COPY --from=tools /t/used /again\nRUN cat /again > /read\n")
    built = trimaran(*words, cwd=context.folder)
    assert built.stdout == trimaran(*words, cwd=context.folder, env={"TRIMARAN_ROOT": f"{trimaran.home}/cold"}).stdout
    assert sound(trimaran)


@pytest.mark.root
def test_a_temporary_folder_that_somebody_removes_is_one_line(trimaran: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile("FROM alpine\nRUN echo begun; sleep 1; echo x > /x\nRUN echo y\n")
    process = trimaran.start("build", "--progress=plain", ".", cwd=context.folder)
    screen = Screen(process)
    screen.until(r"^#\d+ \S+ begun$")
    (folder,) = (trimaran.root / "temp").iterdir()
    shutil.rmtree(folder, ignore_errors=True)
    said = screen.rest()
    assert process.wait(10) == 1
    assert "Traceback" not in said
    assert said.count("\nERROR: ") == 1
    assert f"use temporary files in {folder}: somebody removed them" in said
    trimaran("build", ".", cwd=context.folder)
