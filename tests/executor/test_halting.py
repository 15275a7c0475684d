"""Steps are held still while room is made for them: they write nothing, go on afterwards, and not after an error."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trimaran.errors import Cancelled, Unavailable
from trimaran.executor.halting import halted
from trimaran.executor.process import kill_descendants, spawn, watch

WRITES = "while :; do echo x; done"
"""The shell that is spawned stands for a runtime, which is not held; what it starts is."""


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Callable[[], bool]]:
    """Whether the file grows that two generations of shells write to."""
    path = tmp_path / "written"

    def grows() -> bool:
        before = path.stat().st_size
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            if path.stat().st_size > before:
                return True
            time.sleep(0.01)
        return False

    with open(path, "wb") as file:
        script = f"(({WRITES}) & (kill -STOP $(exec sh -c 'echo $PPID'); {WRITES} >&2) & {WRITES}) & wait"
        descriptors = {1: file.fileno(), 2: os.open(tmp_path / "stopped", os.O_CREAT | os.O_WRONLY)}
        pid = spawn(["/bin/sh", "-c", script], environment=dict(os.environ), descriptors=descriptors)
        os.close(descriptors[2])
    while not path.stat().st_size:
        time.sleep(0.01)
    time.sleep(0.1)
    yield grows
    kill_descendants(pid)
    os.kill(pid, signal.SIGKILL)

    async def end() -> None:
        await watch(pid)

    asyncio.run(end())


def test_nothing_is_written_meanwhile_and_it_goes_on(growing, tmp_path):
    assert growing()
    with halted():
        assert not growing()
    assert growing()
    assert (tmp_path / "stopped").stat().st_size == 0, "what stopped itself stays so"


def test_after_an_error_it_does_not_go_on_but_after_a_cancellation(growing):
    with pytest.raises(Cancelled), halted():
        raise Cancelled("the build is over")
    assert growing()
    with pytest.raises(Unavailable), halted():
        raise Unavailable("no room")
    assert not growing()


def test_a_shell_that_minds_its_jobs_sees_none_stopped(tmp_path):
    """With `set -m` it is told of a child that is stopped, leaves it there and goes on to what comes after it."""
    path = tmp_path / "written"
    jobs = 'set -m; bash -c "while :; do echo x; sleep 0.01; done"; echo over >&2'
    with open(path, "wb") as file, open(tmp_path / "over", "wb") as over:
        argv = ["/bin/sh", "-c", f"bash -c '{jobs}' & wait"]
        pid = spawn(argv, environment=dict(os.environ), descriptors={1: file.fileno(), 2: over.fileno()})
    while not path.stat().st_size:
        time.sleep(0.01)
    for _ in range(10):
        with halted():
            time.sleep(0.01)
        time.sleep(0.03)
    assert (tmp_path / "over").read_bytes() == b""
    kill_descendants(pid)
    os.kill(pid, signal.SIGKILL)

    async def end() -> None:
        await watch(pid)

    asyncio.run(end())
