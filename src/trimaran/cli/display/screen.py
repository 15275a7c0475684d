"""The one impure part of progress: takes events from any thread, writes what a display makes of them to stderr."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from trimaran.builders.options import ProgressMode
from trimaran.cli.display.quiet import Quiet
from trimaran.cli.display.trace import Trace
from trimaran.cli.invocation import CI_VARIABLES
from trimaran.errors import UsageError
from trimaran.events import Event

if TYPE_CHECKING:
    from trimaran.cli.display.ci_log import CiLog

_EVERY = 0.1
_TICK = 0.15


class Display(Protocol):
    """Pure: text for what happened, text for the end. Times are nanoseconds since the epoch."""

    def update(self, events: Iterable[Event], now: int) -> str: ...

    def finish(self, now: int) -> str: ...


class Screen:
    """Runs a display in a thread of its own between `start` and `stop`; `sink` is what engines report to."""

    def __init__(self, display: Display, write: Callable[[str], None], *, every: float = _EVERY) -> None:
        self._display = display
        self._write = write
        self._every = every
        self._events: deque[Event] = deque()
        self._news = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)
        self.trace: Trace = getattr(display, "trace", None) or Trace()

    def sink(self, event: Event) -> None:
        self._events.append(event)
        self._news.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Show all that was reported, then the end. Nothing may be reported afterwards."""
        self._closing.set()
        self._news.set()
        self._thread.join()
        self._write(self._display.update(self._taken(), time.time_ns()) + self._display.finish(time.time_ns()))

    def _run(self) -> None:
        while not self._closing.is_set():
            self._news.wait(_TICK if self._every == _EVERY else self._every)
            self._news.clear()
            self._write(self._display.update(self._taken(), time.time_ns()))
            self._closing.wait(self._every)

    def _taken(self) -> list[Event]:
        taken = []
        while self._events:
            taken.append(self._events.popleft())
        return taken


def choose(mode: ProgressMode, environment: Mapping[str, str], *, terminal: bool) -> ProgressMode:
    """What `auto` means here: live rows on a terminal that can, plain lines elsewhere and in CI."""
    if mode == "tty" and not terminal:
        raise UsageError("--progress tty: standard error is not a terminal", hint="use --progress plain")
    if mode != "auto":
        return mode
    usable = terminal and environment.get("TERM") != "dumb" and not environment.get("CI")
    return "tty" if usable else "plain"


def make(mode: ProgressMode, environment: Mapping[str, str], *, builder: str, driver: str) -> Display:
    """The display of a mode that is not `auto`; a build's says which builder it is."""
    match mode:
        case "tty":
            from trimaran.cli.display.colours import Colours
            from trimaran.cli.display.tty import Tty

            return Tty(
                terminal_size,
                label=f"{driver}:{builder}" if builder else "",
                colours=Colours.of(environment),
                tail_rows=_positive(environment.get("BUILDKIT_TTY_LOG_LINES", ""), 6),
            )
        case "rawjson":
            from trimaran.cli.display.rawjson import RawJson

            return RawJson()
        case "plain":
            from trimaran.cli.display.plain import Plain

            banner = f'building with "{builder}" instance using {driver} driver' if builder else ""
            return Plain(banner, ci_log(environment))
        case _:
            return Quiet()


def ci_log(environment: Mapping[str, str]) -> CiLog | None:
    """The CI server that reads this log; nothing is loaded or looked up where there is none."""
    if CI_VARIABLES.isdisjoint(environment):
        return None
    from trimaran import settings
    from trimaran.cli.display import ci_log as readers

    return readers.choose(environment, groups=settings.load(environment).log_groups)


def rate(environment: Mapping[str, str]) -> float:
    """Seconds between two pictures: $TTY_DISPLAY_RATE is in milliseconds."""
    return _positive(environment.get("TTY_DISPLAY_RATE", ""), int(_EVERY * 1000)) / 1000


def _positive(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else default


def terminal_size() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(2)
    except OSError:
        return 80, 10
    return (size.columns, size.lines) if size.columns and size.lines else (80, 10)


def write_stderr(text: str) -> None:
    """All of it, even where somebody made the terminal non-blocking; nothing when nobody reads any more."""
    if not text:
        return
    sys.stderr.flush()
    data = memoryview(text.encode("utf-8", "surrogateescape"))
    while data:
        try:
            data = data[os.write(2, data) :]
        except BlockingIOError:
            time.sleep(0.005)
        except OSError:
            return
