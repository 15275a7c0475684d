"""Killed at any point: within five seconds nothing runs and nothing is mounted, and the next build is right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stage import reading
from stage.contexts import Context
from stage.faulty import layers_of
from stage.leaks import await_no_leaks, leaks_of
from stage.program import Trimaran
from stage.watching import Screen, until

from trimaran.testing.registry import SLOW, STALL, FaultyRegistry

SECONDS = 5.0
SLEEPER = "FROM {base}\nRUN echo one > /one\nRUN echo begun && sleep 300 & wait\n"
GRACEFUL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def kill(command: Trimaran, process: subprocess.Popen[str], number: int = signal.SIGKILL) -> int:
    """Send the signal to the outer process alone; its exit code, when nothing of it is left after SECONDS."""
    process.send_signal(number)
    left = await_no_leaks(command.home, SECONDS)
    assert not left, "still there:\n" + "\n".join(left)
    return process.wait(1)


def temporary(command: Trimaran) -> list[str]:
    """Temp files, and builds that count as running, of the command's store."""
    return [str(path) for name in ("temp", "live") for path in (command.root / name).rglob("*")]


def builds_clean(command: Trimaran, context: Context, text: str, said: str) -> None:
    """The next build is right, sweeps what the killed one left, and what it gives says `said`."""
    context.dockerfile(text)
    command("build", "-t", "after", ".", cwd=context.folder)
    assert command("run", "after").stdout == said
    assert not temporary(command)


def test_killed_during_pull(either: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    (layer,) = layers_of(faulty)
    stall = faulty.fail(STALL, method="GET", path=layer, after=200_000, seconds=300, times=0)
    base = f"{faulty.host}/alpine"
    context.dockerfile(f"FROM {base}\nRUN true\n")
    process = either.start("build", ".", cwd=context.folder)
    until(lambda: faulty.seen("GET", layer), "the layer is asked for")
    until(lambda: any(os.path.getsize(p) for p in temporary(either) if os.path.isfile(p) and "temp" in p), "bytes")
    assert kill(either, process) == -signal.SIGKILL
    assert temporary(either), "this test is void when nothing was left to sweep"
    faulty.faults.remove(stall)
    builds_clean(either, context, f"FROM {base}\nRUN echo fine > /said\nCMD cat /said\n", "fine\n")


@pytest.mark.parametrize("platform", ["linux/amd64", pytest.param("linux/arm64", marks=pytest.mark.emulated)])
def test_killed_during_run(either: Trimaran, bases: str, context: Context, platform: str) -> None:
    context.dockerfile(SLEEPER.format(base="alpine"))
    process = either.start("build", "--progress=plain", "--platform", platform, ".", cwd=context.folder)
    Screen(process).until(r"^#\d+ \S+ begun$")
    assert leaks_of(either.home), "this test is void when nothing ran"
    assert kill(either, process) == -signal.SIGKILL
    said = either("build", "--progress=plain", "--platform", platform, ".", cwd=again(context)).stderr
    assert said.count("CACHED") >= 1, "the step that was done is not done again"
    assert not temporary(either)


def again(context: Context) -> Path:
    """The sleeper's context, now without the sleep."""
    context.dockerfile("FROM alpine\nRUN echo one > /one\nRUN test $(cat /one) = one\n")
    return context.folder


def test_inner_process_killed_as_for_want_of_memory(trimaran: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile(SLEEPER.format(base="alpine"))
    process = trimaran.start("build", "--progress=plain", ".", cwd=context.folder)
    Screen(process).until(r"^#\d+ \S+ begun$")
    (inner,) = children(process.pid)
    os.kill(inner, signal.SIGKILL)
    assert not await_no_leaks(trimaran.home, SECONDS)
    assert process.wait(1) in (-signal.SIGKILL, 137)
    trimaran("build", ".", cwd=again(context))


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_step_killed_by_the_kernel_is_told_as_such(trimaran: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile("FROM alpine\nRUN sh -c 'kill -9 $$'; exit $?\n")
    failed = trimaran("build", "--progress=plain", ".", cwd=context.folder, exit_code=1).stderr
    assert "exit code: 137" in failed


@pytest.mark.parametrize("number", GRACEFUL)
def test_signals_end_the_build(either: Trimaran, bases: str, context: Context, number: signal.Signals) -> None:
    context.dockerfile(SLEEPER.format(base="alpine"))
    process = either.start("build", "--progress=plain", ".", cwd=context.folder)
    screen = Screen(process)
    screen.until(r"^#\d+ \S+ begun$")
    assert kill(either, process, number) == 130, "buildx's code for a build that was cancelled"
    assert "Traceback" not in screen.rest()
    assert not temporary(either), "a build that could tidy up has done so"
    record = json.loads(next((either.root / "builds").glob("*/record.json")).read_text())
    assert record["status"] == "canceled"


def test_second_interrupt_kills(trimaran: Trimaran, bases: str, context: Context) -> None:
    """Once asks, and what can't stop at once goes on (here a write that nobody reads); twice means now."""
    context.dockerfile("FROM alpine\nRUN head -c 9000000 /dev/zero > /zeros\n")
    pipe = trimaran.home / "pipe"
    os.mkfifo(pipe)
    process = trimaran.start("build", "--progress=plain", "-o", f"type=tar,dest={pipe}", ".", cwd=context.folder)
    with pipe.open("rb") as reader:
        assert reader.read(1000)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        assert kill(trimaran, process, signal.SIGINT) == 130


def test_killed_during_export_leaves_no_output(either: Trimaran, bases: str, context: Context) -> None:
    """Nobody takes half an archive for a whole one, and what is beside it is in nobody's way afterwards."""
    context.dockerfile("FROM alpine\nRUN head -c 300000000 /dev/zero > /zeros\nCMD wc -c < /zeros\n")
    dest = either.home / "out" / "image.tar"
    dest.parent.mkdir()
    os.chown(dest.parent, (status := either.home.stat()).st_uid, status.st_gid)
    words = ("build", "--progress=plain", "-o", f"type=oci,dest={dest},compression=uncompressed", ".")
    for _ in range(4):  # until the kill comes before the end
        process = either.start(*words, cwd=context.folder)
        Screen(process).until(r"sending tarball")
        if kill(either, process) == -signal.SIGKILL:
            break
        dest.unlink()
    else:
        pytest.fail("the export is too quick to be killed: make the layer larger")
    assert list(dest.parent.iterdir()) == []
    either(*words, cwd=context.folder)
    assert reading.skopeo("inspect", f"oci-archive:{dest}")
    assert [path.name for path in dest.parent.iterdir()] == ["image.tar"]


def test_killed_while_a_layer_is_compressed(either: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile("FROM alpine\nRUN head -c 60000000 /dev/urandom > /noise\nRUN echo 1\n")
    pipe = either.home / "pipe"
    os.mkfifo(pipe)
    os.chown(pipe, (status := either.home.stat()).st_uid, status.st_gid)
    output = f"type=tar,dest={pipe}"  # what nobody reads stops in the middle
    process = either.start("build", "-o", output, ".", cwd=context.folder)
    with pipe.open("rb") as reader:
        assert len(reader.read(1_000_000)) == 1_000_000
        assert kill(either, process) == -signal.SIGKILL
    either("build", ".", cwd=context.folder)
    assert not temporary(either)


def test_killed_during_push(either: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    name = f"{faulty.host}/pushed:1"
    text = f"FROM {faulty.host}/alpine\nRUN head -c 3000000 /dev/urandom > /noise\nCMD wc -c < /noise\n"
    context.dockerfile(text)
    slow = [faulty.fail(SLOW, method=method, path="/pushed/blobs", seconds=300, times=0) for method in ("PUT", "PATCH")]
    process = either.start("build", "-t", name, "--push", ".", cwd=context.folder)
    until(lambda: any(each.size > 1_000_000 for each in faulty.seen("", "/pushed/blobs")), "the layer is sent")
    assert kill(either, process) == -signal.SIGKILL
    assert ("pushed", "1") not in faulty.manifests
    for fault in slow:
        faulty.faults.remove(fault)
    either("build", "-t", name, "--push", ".", cwd=context.folder)
    assert not temporary(either)
    assert ("pushed", "1") in faulty.manifests
    assert either("run", name).stdout == "3000000\n"


def test_killed_before_the_iidfile_leaves_none(trimaran: Trimaran, bases: str, context: Context) -> None:
    """An id of an earlier build must not be taken for this one's."""
    context.dockerfile("FROM alpine\n")
    iidfile, metadata = trimaran.home / "iid", trimaran.home / "metadata"
    words = ("build", "--progress=plain", "--iidfile", iidfile, "--metadata-file", metadata, ".")
    trimaran(*words, cwd=context.folder)
    assert iidfile.read_text().startswith("sha256:")
    context.dockerfile(SLEEPER.format(base="alpine"))
    process = trimaran.start(*words, cwd=context.folder)
    Screen(process).until(r"^#\d+ \S+ begun$")
    kill(trimaran, process)
    assert not iidfile.exists()
    assert [path.name for path in trimaran.home.glob("*.part")] == []


def test_killed_run_of_an_image(either: Trimaran, bases: str, context: Context) -> None:
    context.dockerfile("FROM alpine\nCMD echo begun; sleep 300 & wait\n")
    either("build", "-t", "sleeper", ".", cwd=context.folder)
    process = either.start("run", "sleeper")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert kill(either, process) == -signal.SIGKILL
    assert either("run", "sleeper", "echo", "fine").stdout == "fine\n"
