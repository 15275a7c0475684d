"""The engine process of a Python program: `python -P -m trimaran.library.child FD`; FD is an end of a socket pair.

It ends when the build has ended, when it is told to (SIGTERM), and when the program has gone, however that went.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable

from trimaran.builders.drivers import embedded
from trimaran.errors import Cancelled, TrimaranError
from trimaran.events import Event, LogEvent, Sink, discard
from trimaran.library.messages import Bug, Done, Failed, Frames, Message, Order, encode
from trimaran.linux import ids

GRACE = 4.0
"""Seconds in which a build whose program has gone may tidy up."""
_UNREAD = 64 << 20
"""Bytes kept for a program that does not read: what steps write beyond is only in the build's log."""
_PIECE = 1 << 18


def main(arguments: list[str]) -> int:
    """Serve one order and end."""
    ids.close_to_others()
    connection = socket.socket(fileno=int(arguments[0]))
    connection.set_inheritable(False)
    try:
        program = _program(connection)
        order = _order(connection)
    except (OSError, EOFError):
        return 1  # the program has gone before it asked for anything
    os.environb.clear()
    os.environb.update(order.environment)
    try:
        embedded.enter()
        ending = asyncio.run(_serve(order, connection, program))
    except TrimaranError as error:
        ending = Failed.of(error)
    except asyncio.CancelledError:
        ending = Failed.of(Cancelled("build: the engine process was told to end"))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the program is told
        ending = Bug.of(error)
    connection.setblocking(True)
    try:
        connection.sendall(encode(ending))
    except OSError:
        return 1
    return 0


def _program(connection: socket.socket) -> int:
    """A descriptor that becomes readable when the program ends, also where its own children keep the socket open."""
    (pid,) = memoryview(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[:4].cast("i")
    return os.pidfd_open(pid)


def _order(connection: socket.socket) -> Order:
    frames = Frames()
    while data := connection.recv(_PIECE):
        for message in frames.feed(data):
            assert isinstance(message, Order)
            return message
    raise EOFError


async def _serve(order: Order, connection: socket.socket, program: int) -> Message:
    """The build's ending; what it reports meanwhile is sent."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    connection.setblocking(False)
    outbox = Outbox(connection)
    leaving = _Leaving(task.cancel)
    loop.add_reader(program, leaving)
    loop.add_reader(connection, _watch, connection, leaving)
    from trimaran.builders import plan

    sink: Sink = outbox.sink if order.wants_events else discard
    try:
        result = await plan.build(order.options, sink, os.environ, dict(order.secrets))
        ending: Message = Done(result)
    except TrimaranError as error:
        ending = Failed.of(error)
    await outbox.empty()
    return ending


def _watch(connection: socket.socket, leaving: Callable[[], None]) -> None:
    """The program says nothing after its order: what can be read now is its end."""
    try:
        data = connection.recv(_PIECE)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    if not data:
        leaving()


class _Leaving:
    """The program has gone: cancel once, and end whatever is still there when patience is over."""

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        self._called = False

    def __call__(self) -> None:
        if self._called:
            return
        self._called = True
        # As process 1 we take everything with us.
        threading.Timer(GRACE, os._exit, (1,)).start()
        self._cancel()


class Outbox:
    """Events on their way to the program. `sink` may be called from any thread and never waits."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self._idle = asyncio.Event()
        self._idle.set()

    def sink(self, event: Event) -> None:
        frame = encode(event)
        with self._lock:
            if self._size > _UNREAD and isinstance(event, LogEvent):
                return
            self._size += len(frame)
            self._frames.append(frame)
            is_first = len(self._frames) == 1
        if is_first:
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._idle.clear()
        self._loop.add_writer(self._connection, self._flush)

    def _flush(self) -> None:
        """Send what the program takes now."""
        with self._lock:
            frames = list(self._frames)
            self._frames.clear()
        data = memoryview(b"".join(frames))
        sent = 0
        try:
            while sent < len(data):
                sent += self._connection.send(data[sent : sent + _PIECE])
        except BlockingIOError:
            pass
        except OSError:
            sent = len(data)  # nobody reads any more
        with self._lock:
            self._size -= sent
            if sent < len(data):
                self._frames.appendleft(bytes(data[sent:]))
            elif not self._frames:
                self._loop.remove_writer(self._connection)
                self._idle.set()

    async def empty(self) -> None:
        """Wait until the program has read all."""
        await asyncio.sleep(0)  # a first event may still be waiting for `_begin`
        await self._idle.wait()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)
