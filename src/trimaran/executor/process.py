"""Starting a program with nothing inherited, reading all it says, and ending it with all its descendants.

posix_spawn and a pidfd instead of asyncio's subprocesses: no copy of our memory, no watcher thread, and nobody else's
exit status is touched, which matters in process 1.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

Output = Callable[[int, bytes], None]

_CHUNK = 1 << 16
_DRAIN_SECONDS = 2.0
_KILL_PAUSE, _KILL_TRIES = 0.02, 100

_apart = False
_started: set[int] = set()
_seen_dead: set[int] = set()


class Streams:
    """Pipes of a program's stdout and stderr, read by the event loop as bytes arrive: never clipped, never blocking."""

    __slots__ = ("_loop", "_open", "_output", "_quiet", "child")

    def __init__(self, output: Output) -> None:
        self._loop = asyncio.get_running_loop()
        self._output = output
        self._open: dict[int, int] = {}
        self._quiet = asyncio.Event()
        self.child: list[int] = []

    def pipe(self, stream: int) -> int:
        """Our end is watched; the result is the program's end, closed by `started`."""
        read_end, write_end = os.pipe()
        self.watch(read_end, stream)
        self.child.append(write_end)
        return write_end

    def watch(self, fd: int, stream: int) -> None:
        os.set_blocking(fd, False)
        self._open[fd] = stream
        self._loop.add_reader(fd, self._ready, fd)

    def started(self) -> None:
        for fd in self.child:
            os.close(fd)
        self.child.clear()

    def _ready(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # EIO: the last holder of a terminal closed it
        if data:
            self._output(self._open[fd], data)
            return
        self._close(fd)

    def _close(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        del self._open[fd]
        os.close(fd)
        if not self._open:
            self._quiet.set()

    async def drained(self) -> None:
        """Wait until every writer has closed; whoever holds a stream open after the program's end gets 2 s."""
        if self._open:
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self._quiet.wait()

    def close(self) -> None:
        self.started()
        for fd in list(self._open):
            self._close(fd)


def spawn(argv: Sequence[str], *, environment: Mapping[str, str], descriptors: Mapping[int, int]) -> int:
    """Start `argv` (an absolute program) with exactly `descriptors` (theirs: ours) open; its process id.

    Default signal actions, no blocked signal, its own process group: what a terminal sends is ours to pass on.
    """
    actions: list[tuple[int, int, int]] = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in descriptors.items()]
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        dict(environment),
        file_actions=actions,
        setpgroup=0,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGTTOU, signal.SIGTTIN, signal.SIGINT, signal.SIGQUIT, signal.SIGXFSZ),
    )
    _started.add(pid)
    return pid


def spawn_step(argv: Sequence[str], *, environment: Mapping[str, str], descriptors: Mapping[int, int]) -> int:
    """As `spawn`, for what runs a step: on the machine's network, too, it reaches no abstract socket of the machine.

    Such sockets have no owner, and services that listen on them have taken who reaches them for root (CVE-2020-15257,
    T42). This process leaves them with its first step, since the kernel shows a step's runtime only what is no freer
    than it is itself; but not where the session's bus is one, which helpers for credentials ask.
    """
    global _apart  # noqa: PLW0603 - a process leaves once
    if not _apart and "abstract" not in os.environ.get("DBUS_SESSION_BUS_ADDRESS", ""):
        from trimaran.linux.landlock import leave_abstract_sockets

        leave_abstract_sockets()
    _apart = True
    return spawn(argv, environment=environment, descriptors=descriptors)


def watch(pid: int) -> asyncio.Future[int]:
    """The end of a child of ours, without a thread: its exit code, negative for a signal. Await it under `shield`."""
    loop = asyncio.get_running_loop()
    fd = os.pidfd_open(pid)
    end: asyncio.Future[int] = loop.create_future()

    def ready() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        _, status = os.waitpid(pid, 0)
        _started.discard(pid)
        if not end.done():
            end.set_result(os.waitstatus_to_exitcode(status))

    loop.add_reader(fd, ready)
    return end


async def supervise(pid: int) -> int:
    """The exit code of a runtime; when we are cancelled, nothing of its container is left when this returns."""
    waiting = watch(pid)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        await _kill(pid, waiting)
        kill_group(pid)
        raise
    finally:
        reap_orphans()


async def _kill(pid: int, waiting: asyncio.Future[int]) -> None:
    """Kill what is below the runtime until the runtime itself ends: it removes its state. A stuck one is killed too."""
    for attempt in range(_KILL_TRIES):
        kill_descendants(pid)
        if attempt == _KILL_TRIES - 1:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        done: set[asyncio.Future[int]] = set()
        with suppress(asyncio.CancelledError):  # a second cancellation changes nothing: the kill goes on
            done, _ = await asyncio.wait([waiting], timeout=_KILL_PAUSE)
        if done:
            return
    with suppress(asyncio.CancelledError):
        await waiting


def started() -> frozenset[int]:
    """What `spawn` started and nobody has seen end yet."""
    return frozenset(_started)


def children() -> dict[int, list[int]]:
    """Parent to children, of every process we can see."""
    result: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        result.setdefault(int(fields[1]), []).append(int(name))
    return result


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, nearest first."""
    table = children()
    found: list[int] = []
    pending = [pid]
    while pending:
        below = table.get(pending.pop(), [])
        found += below
        pending += below
    return found


def kill_group(pid: int) -> None:
    """SIGKILL what is left of the process group that `spawn` made: a runtime's helpers that lost their parent."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def kill_descendants(pid: int) -> int:
    """SIGKILL everything below `pid`, but not itself: it cleans up behind them. How many there were."""
    below = descendants(pid)
    for each in below:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)
    return len(below)


def reap_orphans() -> int:
    """Process 1 inherits the children of whoever died: bury those that were already dead at the last call.

    Not the ones started here, and none that died just now: asyncio and subprocess fetch theirs at once. How many.
    """
    global _seen_dead  # noqa: PLW0603 - a fact about this process's children
    if os.getpid() != 1:
        return 0
    dead = {pid for pid in children().get(1, []) if pid not in _started and _is_dead(pid)}
    buried = 0
    for pid in dead & _seen_dead:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
            buried += 1
    _seen_dead = dead
    return buried


def _is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return False
