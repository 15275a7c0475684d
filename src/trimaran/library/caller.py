"""The program's side of an engine process: start it, send the order, hear it out, and see that nothing of it is left.

Law: nothing of the calling process changes. No signal handler, no child watcher, no thread, nothing printed; the one
child is waited for by its id.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import trimaran
from trimaran.builders.options import BuildResult
from trimaran.errors import Unavailable, Unsupported
from trimaran.events import Event, discard
from trimaran.library.messages import Bug, Done, Failed, Frames, Message, Order, encode

PATIENCE = 6.0
"""Seconds between asking the engine to end and killing it: more than its own `outer.GRACE`."""
_MODULE = "trimaran.library.child"
_PIECE = 1 << 18
_POLL = 0.005
_ENVIRONMENT = ("PYTHON", "LD_LIBRARY_PATH", "LANG", "LC_", "TRIMARAN_")
"""What an interpreter needs to start; all else goes over the socket, since it may be secret."""


class EngineProcess:
    """A started engine and this end of the socket to it. As a context it is told to end by an error, and waited for."""

    def __init__(self, order: Order) -> None:
        if not sys.executable:
            raise Unsupported(
                "start the build's engine: this Python does not say where its interpreter is",
                hint="set sys.executable to the python program before trimaran is used",
            )
        self.order = encode(order)
        self.connection, theirs = socket.socketpair()
        self._said = os.memfd_create("trimaran-engine", os.MFD_CLOEXEC)
        self.last_words = ""
        """What it wrote where nobody should: the interpreter's own."""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                env=_environment(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # what a terminal sends is the program's to act on
            )
        except BaseException as error:
            self.connection.close()
            os.close(self._said)
            if isinstance(error, OSError):
                raise Unavailable(f"start the build's engine: {error}") from error
            raise
        finally:
            theirs.close()

    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        """Ask it to end; it tidies up first."""
        if not self.ended():
            self._process.terminate()

    def kill(self) -> None:
        """All of it ends now: the kernel ends what is in its namespace."""
        if not self.ended():
            self._process.kill()

    def _finish(self) -> None:
        """It has ended, or does so now: nobody waits any more (a second Ctrl-C)."""
        self.kill()
        self._process.wait()
        self.connection.close()
        self.last_words = os.pread(self._said, 1 << 16, 0).decode("utf-8", "replace").strip()
        os.close(self._said)

    def lost(self) -> Unavailable:
        """The error for one that ended without saying how the build did."""
        code = self._process.returncode
        how = f"it was killed by signal {-code}" if code is not None and code < 0 else f"it ended with {code}"
        hint = self.last_words or "was it killed for want of memory? see the kernel's log (dmesg)"
        return Unavailable(f"hear of the build's engine: {how}", hint=hint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self.stop()
            deadline = time.monotonic() + PATIENCE
            while not self.ended():
                time.sleep(_POLL)
                if time.monotonic() > deadline:
                    self.kill()
        finally:
            self._finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cancelled: asyncio.CancelledError | None = None
        if error is not None:
            self.stop()
        deadline = time.monotonic() + PATIENCE
        try:
            while not self.ended():
                try:
                    await asyncio.sleep(_POLL)
                except asyncio.CancelledError as again:
                    cancelled = again
                if time.monotonic() > deadline:
                    self.kill()
        finally:
            self._finish()
        if cancelled is not None:
            raise cancelled


class Conversation:
    """What the engine has said so far. Pure, but for `on_event`."""

    def __init__(self, on_event: Callable[[Event], object]) -> None:
        self._frames = Frames()
        self._on_event = on_event
        self.ending: Done | Failed | Bug | None = None

    def feed(self, data: bytes) -> None:
        for message in self._frames.feed(data):
            self._take(message)

    def _take(self, message: Message) -> None:
        if isinstance(message, Done | Failed | Bug):
            self.ending = message
        elif not isinstance(message, Order):
            self._on_event(message)

    def result(self, engine: EngineProcess) -> BuildResult:
        """The build's, or its error raised."""
        if isinstance(self.ending, Done):
            return self.ending.result
        raise engine.lost() if self.ending is None else self.ending.error()


def run(order: Order, on_event: Callable[[Event], object] | None) -> BuildResult:
    """The build, in the thread that asks."""
    conversation = Conversation(on_event or discard)
    with EngineProcess(order) as engine:
        try:
            engine.connection.sendall(engine.order, socket.MSG_NOSIGNAL)
            while data := engine.connection.recv(_PIECE):
                conversation.feed(data)
        except ConnectionError:
            pass  # it has gone: `result` says how
    return conversation.result(engine)


async def run_async(order: Order, on_event: Callable[[Event], object] | None) -> BuildResult:
    """The build, while the event loop goes on. Cancelled, it ends the engine before it lets go."""
    loop = asyncio.get_running_loop()
    conversation = Conversation(on_event or discard)
    async with EngineProcess(order) as engine:
        engine.connection.setblocking(False)
        try:
            await loop.sock_sendall(engine.connection, engine.order)
            while data := await loop.sock_recv(engine.connection, _PIECE):
                conversation.feed(data)
        except ConnectionError:
            pass  # it has gone: `result` says how
    return conversation.result(engine)


def _environment() -> dict[str, str]:
    """A bare one, by which the interpreter finds this very package."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    package = os.path.dirname(os.path.dirname(os.path.abspath(trimaran.__file__)))
    if not package.startswith((sys.prefix, sys.base_prefix)):
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (package, kept.get("PYTHONPATH"))))
    return kept
