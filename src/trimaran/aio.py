"""The one place that starts tasks and threads: structured, first real error first, no thread left behind.

Law: asyncio for control, threads for disk. A function run by `in_thread` takes a `Cancel` and checks it per entry or
MiB; when its waiter is cancelled, the flag is set and the thread is *waited for* before the cancellation goes on, so
that nobody removes a folder a thread still writes to.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from trimaran.errors import Cancelled

T = TypeVar("T")
P = ParamSpec("P")

_POOL_SIZE = max(4, (os.cpu_count() or 2) + 2)
_pool: ThreadPoolExecutor | None = None
_BACK_POOL_SIZE = 2
_NICE = 15
"""What background threads add to the program's niceness (nice(2)): where processors are short, others go first."""
_back_pool: ThreadPoolExecutor | None = None
_behind: ContextVar[bool] = ContextVar("behind", default=False)
_thread = threading.local()


class Cancel:
    """A flag the waiter sets and the worker checks; `on_cancel` callbacks unblock a worker in a system call."""

    __slots__ = ("_callbacks", "_event")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise Cancelled when the waiter is gone."""
        if self._event.is_set():
            raise Cancelled("cancelled")

    def set(self) -> None:
        self._event.set()
        for callback in self._callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)


@contextmanager
def in_background() -> Iterator[None]:
    """What `in_thread` is given in this block runs in a few threads of its own, of low priority."""
    token = _behind.set(True)
    try:
        yield
    finally:
        _behind.reset(token)


def is_background_thread() -> bool:
    """Whether this thread is one of low priority: what it has others do should be, too."""
    return getattr(_thread, "is_background", False)


def become_background_thread() -> None:
    """For threads that only work in the background: there is no way back. Linux has a niceness per thread."""
    _thread.is_background = True
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + _NICE))


def _executor() -> ThreadPoolExecutor:
    global _pool, _back_pool  # noqa: PLW0603 - bounded pools of the process, made on first use
    if _behind.get():
        if _back_pool is None:
            name = "trimaran-background"
            _back_pool = ThreadPoolExecutor(_BACK_POOL_SIZE, name, initializer=become_background_thread)
        return _back_pool
    if _pool is None:
        _pool = ThreadPoolExecutor(_POOL_SIZE, thread_name_prefix="trimaran")
    return _pool


async def in_thread(function: Callable[Concatenate[Cancel, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function(cancel, …)` in the pool and wait; on cancellation wait for the thread too, then raise."""
    cancel = Cancel()
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(_executor(), lambda: function(cancel, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        cancel.set()
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()
        raise


class ExpendableThreads:
    """An executor of threads that nobody has to wait for: the program's end ends them, whatever they do.

    For other people's code that waits for a network and cannot be told to stop (boto3). It may read files, and change
    nothing on this machine: it goes on for a while after whoever asked has gone. As `concurrent.futures` has them.
    """

    def __init__(self, max_workers: int) -> None:
        self._most = max_workers
        self._behind = is_background_thread() or _behind.get()
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._guard = threading.Lock()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
                future.set_exception(error)
            else:
                future.set_result(result)

        self._work.put(work)
        with self._guard:
            if len(self._threads) < self._most:
                self._threads.append(threading.Thread(target=self._serve, name="trimaran-expendable", daemon=True))
                self._threads[-1].start()
        return future

    def _serve(self) -> None:
        if self._behind:
            become_background_thread()
        while (work := self._work.get()) is not None:
            work()

    def shutdown(self, wait: bool = True) -> None:
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads if wait else ():
            thread.join()


async def in_expendable_thread(
    function: Callable[Concatenate[Cancel, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """As `in_thread`, but for the law: who is cancelled does not wait for it. See `ExpendableThreads`."""
    cancel = Cancel()
    threads = ExpendableThreads(1)
    future = threads.submit(function, cancel, *args, **kwargs)
    threads.shutdown(wait=False)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        cancel.set()
        raise


def first_error(error: BaseException) -> BaseException:
    """The error a person should see: the first leaf of (nested) groups that is no cancellation."""
    while isinstance(error, BaseExceptionGroup):
        leaves = [e for e in error.exceptions if not isinstance(e, (asyncio.CancelledError, Cancelled))]
        error = (leaves or list(error.exceptions))[0]
    return error


class TaskGroup:
    """`asyncio.TaskGroup` whose errors come out as the first real one, never as a group."""

    __slots__ = ("_group",)

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            first = first_error(group)
            raise first from first.__cause__

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self._group.create_task(coroutine)


async def all_of(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at the same time; results in order; the first failure cancels the others and is what is raised."""
    async with TaskGroup() as group:
        tasks = [group.start(coroutine) for coroutine in coroutines]
    return [task.result() for task in tasks]


class Once:
    """Equal work runs once: callers with the same key share one run, cancelled only when its last waiter leaves.

    Results are not kept: a later caller runs anew.
    """

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running: dict[object, tuple[asyncio.Task[Any], list[int]]] = {}

    async def run(self, key: object, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        entry = self._running.get(key)
        if entry is None:
            task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work())
            entry = self._running[key] = (task, [0])
            task.add_done_callback(lambda _: self._forget(key, task))
        task, waiters = entry
        waiters[0] += 1
        try:
            result: T = await asyncio.shield(task)
            return result
        except asyncio.CancelledError:
            if waiters[0] == 1 and not task.done():
                self._forget(key, task)
                task.cancel()
                await asyncio.wait([task])
            raise
        finally:
            waiters[0] -= 1

    def _forget(self, key: object, task: asyncio.Task[Any]) -> None:
        """A cancelled run takes its time to end: by then another may have begun under its key."""
        entry = self._running.get(key)
        if entry is not None and entry[0] is task:
            del self._running[key]
