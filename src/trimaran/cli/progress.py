"""Work with progress shown: a screen around a coroutine, and the last words after it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from trimaran.builders.options import ProgressMode
from trimaran.cli.display import screen as screens
from trimaran.cli.invocation import Invocation
from trimaran.events import Sink

if TYPE_CHECKING:
    from trimaran.cli.annotations import Annotations

T = TypeVar("T")

BUILDER = "trimaran"
DRIVER = "embedded"
SILENT = frozenset({"quiet", "none"})


def watch(
    asked: ProgressMode,
    invocation: Invocation,
    work: Callable[[Sink], Awaitable[T]],
    *,
    build: bool,
    annotations: Annotations | None = None,
) -> T:
    """Run `work(sink)` in an event loop of its own, showing what it reports. Its errors come out after the screen.

    `build`: say first which builder does it. SIGTERM and SIGHUP cancel the work as Ctrl-C does: all leave as
    KeyboardInterrupt.
    """
    import asyncio

    terminal = os.isatty(2)
    mode = screens.choose(asked, invocation.environment, terminal=terminal)
    display = screens.make(mode, invocation.environment, builder=BUILDER if build else "", driver=DRIVER)
    screen = screens.Screen(display, screens.write_stderr, every=screens.rate(invocation.environment))
    screen.start()

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None
        if sys.platform != "win32":
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work(screen.sink)

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        screen.stop()
        if annotations is not None and mode == "plain":
            invocation.mark(annotations.of_warnings(screen.trace.warnings))
        _last_words(screen, invocation, mode=mode, terminal=terminal)


def _last_words(screen: screens.Screen, invocation: Invocation, *, mode: str, terminal: bool) -> None:
    """Warnings, and what ran emulated; not where the output is for programs."""
    from trimaran.cli.display.epilogue import execution_summary, warnings

    if mode in SILENT or mode == "rawjson":
        return
    colour = terminal and not invocation.environment.get("NO_COLOR")
    expand = "docker --debug" if invocation.plugin else "--debug"
    invocation.err(warnings(screen.trace, expand=expand, colour=colour, detailed=invocation.debug))
    invocation.err(execution_summary(screen.trace))
