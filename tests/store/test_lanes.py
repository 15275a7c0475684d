from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from trimaran import aio
from trimaran.store import lanes
from trimaran.store.lanes import Lane


def feed(work, pieces):
    with Lane(work) as lane:
        for piece in pieces:
            lane.put(piece)


def test_order_is_kept_and_everything_is_done_at_the_end():
    done = []
    feed(done.append, (b"%d" % number for number in range(500)))
    assert done == [b"%d" % number for number in range(500)]


def test_a_single_piece_takes_no_thread():
    threads = []
    feed(lambda piece: threads.append(threading.get_ident()), [b"x"])
    assert threads == [threading.get_ident()]


def test_what_waits_is_bounded():
    go, done = threading.Event(), []

    def work(piece):
        go.wait(10)
        done.append(piece)

    taken = []

    def fill(lane):
        for number in range(20):
            lane.put(b"%d" % number)
            taken.append(number)

    with Lane(work) as lane:
        feeder = threading.Thread(target=fill, args=(lane,))
        feeder.start()
        deadline = time.monotonic() + 60
        while len(taken) <= lanes._WAITING and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert len(taken) == lanes._WAITING + 1, "those that wait, and the one that is worked on"
        go.set()
        feeder.join(10)
    assert len(done) == 20


def test_an_error_comes_out_where_the_pieces_come_from():
    def work(piece):
        raise OSError(28, "full")

    for count in (1, 2, 100):
        with pytest.raises(OSError, match="full"):
            feed(work, [b"x"] * count)


def test_after_an_error_of_the_caller_nothing_goes_on():
    done = []

    def work(piece):
        time.sleep(0.01)
        done.append(piece)

    def pieces():
        yield from [b"x"] * 4
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        feed(work, pieces())
    count = len(done)
    time.sleep(0.05)
    assert len(done) == count


def test_work_in_the_background_is_done_at_low_priority_with_all_that_it_starts():
    def niceness(cancel):
        found = [os.getpriority(os.PRIO_PROCESS, 0)]
        feed(lambda _: found.append(os.getpriority(os.PRIO_PROCESS, 0)), [b"x"] * 3)
        return set(found)

    async def work():
        with aio.in_background():
            behind = await aio.in_thread(niceness)
        return behind, await aio.in_thread(niceness)

    behind, before = asyncio.run(work())
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert before == {usual}
    assert behind == {min(19, usual + 15)}
