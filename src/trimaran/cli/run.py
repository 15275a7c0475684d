"""`run IMAGE [COMMAND]`: an image's program in the sandbox of a RUN step; nothing it changes is kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values
from trimaran.errors import TrimaranError, UsageError

if TYPE_CHECKING:
    from trimaran.engine.run import RunRequest
    from trimaran.executor.runtime import Exit, Signals, Terminal
    from trimaran.executor.spec import Network

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
NOT_STARTED = 125
"""Exit code when the program could not be started at all, as docker run's."""

COMMAND = Command(
    name="run",
    summary="Run a command in an image",
    usage="run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    description="Run a program of an image of the store (or of a registry), emulated where its platform asks for it. "
    "What it changes is thrown away. Exits with the program's exit code, or as docker does (125, 126, 127) when it "
    "could not be started. The program gets the signals that the command is sent; the third one that asks it to end "
    "(Ctrl-C, SIGTERM) kills it.",
    flags=(
        DEBUG,
        Flag(name="entrypoint", help="Overwrite the default ENTRYPOINT of the image"),
        Flag(name="env", shorthand="e", kind="stringArray", help="Set environment variables"),
        Flag(name="hostname", help="Container host name"),
        Flag(name="interactive", shorthand="i", kind="bool", help="Keep STDIN open"),
        Flag(name="network", help="Networking mode", choices=("default", "none", "host")),
        Flag(name="platform", help="Platform to run", environment="DOCKER_DEFAULT_PLATFORM"),
        Flag(name="pull", kind="bool", help="Ask the registry, whatever the store has"),
        Flag(name="rm", kind="bool", default="true", hidden=True, ignored=True),
        Flag(name="tty", shorthand="t", kind="bool", help="Give the program a terminal"),
        Flag(name="user", shorthand="u", help="Username or UID (format: <name|uid>[:<group|gid>])"),
        Flag(name="workdir", shorthand="w", help="Working directory inside the container"),
    ),
    arguments=(1, -1),
    interspersed=False,
    completes="image",
    examples=(
        Example("What a build made, for another platform:", "run --platform linux/arm64 app uname -m"),
        Example("A shell:", "run -it alpine sh"),
    ),
)


def run(values: Values, invocation: Invocation) -> int:
    import asyncio

    from trimaran.cli.main import report

    with_terminal = values.boolean("tty")
    try:
        request = read(values, invocation.environment)
        if with_terminal and not (os.isatty(0) and os.isatty(1)):
            raise UsageError("run -t: the input device is not a TTY", hint="leave -t out")
        with _raw_terminal(with_terminal):
            ended = asyncio.run(
                _run(request, stdin=0 if values.boolean("interactive") else None, terminal=with_terminal)
            )
    except TrimaranError as error:
        from trimaran.executor.containers import ContainerNotStarted

        report(error, debug=invocation.debug)
        return error.code if isinstance(error, ContainerNotStarted) else NOT_STARTED
    except _Ended as asked:
        return 128 + asked.number
    if ended.oom:
        what = "the program" if ended.code else "a process of the program"
        invocation.err(f"the kernel killed {what} for want of memory\n")
    return ended.code


def read(values: Values, environment: dict[str, str]) -> RunRequest:
    from trimaran.builders.checks import check_platform
    from trimaran.engine.run import RunRequest
    from trimaran.platforms import Platform

    network = values.text("network")
    if network not in {"", "default", "none", "host"}:
        raise UsageError(f'network mode "{network}": not supported', hint="modes: default, none, host")
    given = (
        text if "=" in text else f"{text}={environment[text]}"
        for text in values.texts("env")
        if _has(text, environment)
    )
    platform = values.text("platform")
    if platform:
        check_platform(platform)
    image, *command = values.arguments
    return RunRequest(
        image=image,
        platform=Platform.parse(platform).normalize() if platform else None,
        command=tuple(command),
        entrypoint=values.text("entrypoint") if values.given("entrypoint") else None,
        environment=tuple(given),
        working_folder=values.text("workdir"),
        user=values.text("user"),
        network=None if network in {"", "default"} else cast("Network", network),
        hostname=values.text("hostname"),
        pull=values.boolean("pull"),
    )


def _has(text: str, environment: dict[str, str]) -> bool:
    """`-e NAME` of a variable that is not set sets none."""
    return "=" in text or text in environment


async def _run(request: RunRequest, *, stdin: int | None, terminal: bool) -> Exit:
    from trimaran import settings
    from trimaran.builders.drivers import embedded
    from trimaran.engine import run as engine_run
    from trimaran.engine.engine import open_engine, state_folder

    configuration = settings.load()
    with _passed_on() as signals, open_engine(state_folder(configuration), configuration, embedded.enter()) as engine:
        async with engine.registry:
            return await engine_run.run(
                request,
                engine,
                output=_write,
                stdin=stdin,
                terminal=_watched_terminal() if terminal else None,
                signals=signals,
            )


class _Ended(Exception):
    """A signal came before there was a program to get it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _passed_on() -> Iterator[Signals]:
    """Signals that we are sent go to the program; while it does not run yet, what asks to end ends us."""
    import asyncio

    from trimaran.executor.runtime import Signals

    signals, loop, ours = Signals(), asyncio.get_running_loop(), asyncio.current_task()
    assert ours is not None
    ended: list[int] = []

    def passed(number: int) -> None:
        if not signals.send(number) and number in _ENDING:
            ended.append(number)
            ours.cancel()

    for number in (*_ENDING, signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, passed, number)
    try:
        yield signals
    except asyncio.CancelledError:
        if not ended:
            raise
        raise _Ended(ended[0]) from None


def _write(stream: int, data: bytes) -> None:
    """All of it, to our own stream of that number; a reader that left ends the writing, not the program."""
    import select

    view = memoryview(data)
    while view:
        try:
            view = view[os.write(stream, view) :]
        except BlockingIOError:
            select.select([], [stream], [])
        except BrokenPipeError:
            return


def _watched_terminal() -> Terminal:
    """A terminal of our own size, that follows when ours changes."""
    import asyncio

    from trimaran.executor.runtime import Terminal

    size = os.get_terminal_size(1)
    terminal = Terminal(size.lines, size.columns)

    def resized() -> None:
        now = os.get_terminal_size(1)
        terminal.resize(now.lines, now.columns)

    asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, resized)
    return terminal


@contextmanager
def _raw_terminal(wanted: bool) -> Iterator[None]:
    """Keys go to the program as they are typed; the terminal is as before afterwards."""
    from trimaran.builders.drivers import embedded
    from trimaran.linux.outer import PROGRAM

    if not wanted:
        embedded.enter(manner=PROGRAM)
        yield
        return
    import termios
    import tty

    embedded.enter(terminal=True, manner=PROGRAM)
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
