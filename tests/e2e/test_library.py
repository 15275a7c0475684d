"""`trimaran.build` in real Python programs: what it gives, and what it leaves alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from stage import reading
from stage.contexts import Context
from stage.leaks import await_no_leaks, leaks_of
from stage.program import Trimaran
from stage.scripts import Scripts
from stage.watching import until

SECONDS = 5.0
SLEEPER = "FROM alpine\nRUN echo begun && sleep 300\n"

PUSHING = """
import json, os, signal, sys, threading
import trimaran

def state():
    signals = [str(signal.getsignal(n)) for n in sorted(signal.valid_signals())]
    spaces = {n: os.readlink(f"/proc/self/ns/{n}") for n in ("mnt", "pid", "user", "cgroup")}
    mask = sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    handles = sorted(os.listdir("/proc/self/fd"))
    return signals, spaces, mask, handles, threading.active_count(), dict(os.environ), os.getcwd()

before = state()
events = []
result = trimaran.build(
    ".", platforms=["linux/amd64", "linux/arm64"], tags=sys.argv[1], push=True, on_event=events.append,
    build_args={"WORD": "said"}, labels={"a": "b"},
)
assert state() == before
again = trimaran.build(".", platforms="linux/amd64", tags=sys.argv[1], build_args={"WORD": "said"})
print(json.dumps({
    "digest": result.digest, "digests": result.digests, "tags": result.tags,
    "steps": [[s.name, s.cached, s.execution, s.seconds] for s in result.steps],
    "again": [[s.name, s.cached] for s in again.steps],
    "log": [open(s.log).read() for s in result.steps if s.log],
    "logged": b"".join(e.data for e in events if isinstance(e, trimaran.LogEvent)).decode(),
}))
"""


@pytest.fixture
def scripts(either: Trimaran, context: Context) -> Iterator[Scripts]:
    made = Scripts(either, context.folder)
    yield made
    made.stop()


@pytest.fixture
def rootful(trimaran: Trimaran, context: Context) -> Iterator[Scripts]:
    made = Scripts(trimaran, context.folder)
    yield made
    made.stop()


@pytest.mark.emulated
def test_two_platforms_pushed_from_a_script(scripts: Scripts, bases: str, context: Context) -> None:
    """The result tells the truth, and the program is as it was: signals, namespaces, threads, descriptors."""
    context.dockerfile("FROM alpine\nARG WORD\nRUN echo $WORD\nRUN uname -m > /machine\n")
    name = f"{bases}/library/{os.urandom(3).hex()}:v1"
    said = json.loads(scripts(PUSHING, name))
    index = reading.index_of(name)
    assert said["tags"] == [name]
    assert said["digests"] == {
        f"linux/{child['platform']['architecture']}": child["digest"] for child in index["manifests"]
    }
    assert set(said["digests"]) == {"linux/amd64", "linux/arm64"}
    assert reading.skopeo("inspect", "--format={{.Digest}}", "--tls-verify=false", f"docker://{name}").strip() in (
        said["digest"],
        *said["digests"].values(),
    )
    ran = {name: (cached, execution) for name, cached, execution, _ in said["steps"] if "RUN" in name}
    assert ran["[linux/amd64 2/3] RUN echo said"] == (False, "native")
    assert ran["[linux/arm64 2/3] RUN echo said"] == (False, "emulated")
    assert all(seconds > 0 for name, _, _, seconds in said["steps"] if "RUN" in name)
    assert said["log"] == ["said\n", "said\n"]
    assert said["logged"] == "said\nsaid\n"
    assert {cached for name, cached in said["again"] if "RUN" in name} == {True}


CONCURRENT = """
import asyncio, json, threading
import trimaran

def text(number):
    return f"FROM alpine\\nRUN echo {number} > /number\\n"

async def main():
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)
    ticking = asyncio.create_task(tick())
    one, two = await asyncio.gather(*[trimaran.build_async(".", dockerfile=text(n)) for n in (1, 2)])
    assert ticks > 5, "the loop went on"
    seen = ticks
    inside = trimaran.build(".", dockerfile=text(1))  # also where a loop is running
    assert inside.image_id == one.image_id and ticks == seen
    ticking.cancel()
    return [one.image_id, two.image_id]

found = asyncio.run(main())
results = {}
def work(number):
    results[number] = trimaran.build(".", dockerfile=text(number)).image_id
threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert [results[1], results[2]] == found
print(len(set(results.values())))
"""


def test_inside_a_running_loop_and_in_three_threads_at_once(rootful: Scripts, bases: str) -> None:
    assert rootful(CONCURRENT) == "3\n"


CANCELLED = """
import asyncio, os
import trimaran

async def main():
    begun = asyncio.Event()
    task = asyncio.create_task(trimaran.build_async(".", on_event=lambda e: getattr(e, "data", b"") and begun.set()))
    await asyncio.wait([task, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert children() and not task.done(), "void when nothing runs"
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled", children())

def children():
    return [int(word) for word in open(f"/proc/self/task/{os.getpid()}/children").read().split()]

asyncio.run(main())
"""


def test_cancelled_task_leaves_nothing(scripts: Scripts, either: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile(SLEEPER)
    assert scripts(CANCELLED) == "cancelled []\n"
    assert leaks_of(either.home) == []
    record = json.loads(next((either.root / "builds").glob("*/record.json")).read_text())
    assert record["status"] == "canceled"


DYING = """
import os, sys, time
import trimaran

def tell(event):
    if getattr(event, "data", b""):
        if sys.argv[1] == "forks now" and os.fork() == 0:
            time.sleep(300)
        print("begun", flush=True)
trimaran.build(".", on_event=tell)
"""


@pytest.mark.parametrize("way", ["alone", "forks now"])
def test_program_killed_takes_its_engine_along(
    scripts: Scripts, either: Trimaran, bases: str, context: Context, way: str
) -> None:
    """Also where a child that the program forked has the socket open still."""
    context.dockerfile(SLEEPER)
    process = scripts.start(DYING, way)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert len(engines(either)) >= 2
    process.kill()
    until(lambda: not engines(either), "the engine ends", SECONDS)
    if way == "forks now":
        os.killpg(process.pid, signal.SIGKILL)
    assert not await_no_leaks(either.home, SECONDS)


def engines(command: Trimaran) -> list[str]:
    return [line for line in leaks_of(command.home) if "trimaran.library.child" in line or "sleep 300" in line]


FAILING = """
import json
import trimaran

try:
    trimaran.build(".", file="Dockerfile")
except trimaran.StepFailed as error:
    where = error.where
    print(json.dumps([error.exit_code, error.tail, error.vertex, where.filename, where.ranges[0].start.line, str(error)]))
for wrong in (
    lambda: trimaran.build("nowhere"),
    lambda: trimaran.build(".", dockerfile="FROM alpine\\nCOPY nothing /\\n"),
    lambda: trimaran.build(".", dockerfile="FROM alpine\\nRUNN x\\n"),
    lambda: trimaran.build(".", on_event=lambda event: 1 / 0),
):
    try:
        wrong()
    except (trimaran.TrimaranError, ZeroDivisionError) as error:
        print(type(error).__name__, error)
"""


def test_errors_are_what_they_are_on_the_command_line(rootful: Scripts, bases: str, context: Context) -> None:
    context.dockerfile("FROM alpine\nRUN echo one && echo two && exit 7\n")
    first, *others = rootful(FAILING).splitlines()
    code, tail, vertex, filename, line, message = json.loads(first)
    assert (code, tail, filename, line) == (7, ["one", "two"], "Dockerfile", 2)
    assert vertex == "[2/2] RUN echo one && echo two && exit 7"
    assert message.endswith("did not complete successfully: exit code: 7")
    assert [other.partition(" ")[0] for other in others] == [
        "UsageError",
        "NotFound",
        "UsageError",
        "ZeroDivisionError",
    ]
    assert "RUNN" in others[2]


SECRET = """
import os, sys
from pathlib import Path
import trimaran

word = os.urandom(8).hex().encode()
os.environ["TOKEN"] = word.decode()
Path(sys.argv[1]).write_bytes(word)
found = []

def look(event):
    if getattr(event, "data", b""):
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    if word in (process / name).read_bytes():
                        found.append((name, (process / "cmdline").read_bytes()))
                except OSError:
                    pass
        found.append("looked")

text = (
    "FROM alpine\\nRUN --mount=type=secret,id=given --mount=type=secret,id=file --mount=type=secret,id=TOKEN "
    "cat /run/secrets/* | md5sum; sleep 0.2\\n"
)
result = trimaran.build(
    ".", dockerfile=text, secrets={"given": word, "file": Path(sys.argv[1])}, build_args={"TOKEN": None}, on_event=look
)
print(set(found))
"""


def test_secrets_are_in_no_command_line_and_no_environment(scripts: Scripts, either: Trimaran, bases: str) -> None:
    """Those given as bytes, those in files, and what only the program's own environment holds."""
    assert scripts(SECRET, str(either.home / "tmp/secret")) == "{'looked'}\n"


INTERRUPTED = """
import signal
import trimaran

def tell(event):
    if getattr(event, "data", b""):
        signal.raise_signal(signal.SIGINT)
try:
    trimaran.build(".", on_event=tell)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_interrupted_program_may_go_on(rootful: Scripts, trimaran: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile(SLEEPER)
    assert rootful(INTERRUPTED) == "interrupted\n"
    assert leaks_of(trimaran.home) == []


KILLED = """
import os, signal
import trimaran

def tell(event):
    if getattr(event, "data", b""):
        (child,) = open(f"/proc/self/task/{os.getpid()}/children").read().split()
        os.kill(int(child), signal.SIGKILL)
try:
    trimaran.build(".", on_event=tell)
except trimaran.Unavailable as error:
    print(error)
"""


def test_engine_that_is_killed_is_an_error_and_leaves_nothing(
    rootful: Scripts, trimaran: Trimaran, bases: str, context: Context
) -> None:
    context.dockerfile(SLEEPER)
    assert rootful(KILLED) == "hear of the build's engine: it was killed by signal 9\n"
    assert not await_no_leaks(trimaran.home, SECONDS)
