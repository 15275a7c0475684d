"""Threads that may be left behind, beside those that may not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from trimaran import aio


def test_who_is_cancelled_does_not_wait_and_the_thread_is_told() -> None:
    begun, told, may_end, ended = (threading.Event() for _ in range(4))

    def stuck(cancel: aio.Cancel) -> None:
        begun.set()
        while not cancel.cancelled:
            time.sleep(0.01)
        told.set()
        may_end.wait(60)
        ended.set()

    async def run() -> None:
        waiting = asyncio.ensure_future(aio.in_expendable_thread(stuck))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
    assert told.wait(60)
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(60)


def test_results_and_errors_come_out() -> None:
    def divide(cancel: aio.Cancel, number: int, *, by: int) -> float:
        cancel.check()
        return number / by

    async def run(by: int) -> float:
        return await aio.in_expendable_thread(divide, 6, by=by)

    assert asyncio.run(run(3)) == 2
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run(0))


def test_no_more_run_at_a_time_than_were_asked_for_and_all_are_run() -> None:
    threads = aio.ExpendableThreads(2)
    both = threading.Barrier(2, timeout=10)
    waiting = [threads.submit(both.wait) for _ in range(4)]
    assert sorted(each.result(10) for each in waiting) == [0, 0, 1, 1]
    threads.shutdown()
    assert [thread for thread in threads._threads if thread.is_alive()] == []


def test_the_end_of_the_program_waits_for_none() -> None:
    program = (
        "import time; from trimaran import aio; threads = aio.ExpendableThreads(1); threads.submit(time.sleep, 60)"
    )
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert time.monotonic() - begun < 20
