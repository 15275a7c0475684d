"""The outer process of `enter`: it forwards signals, waits, sweeps the control group, and ends as the inner one did.

Work is asked to stop by Ctrl-C once, and killed by a second one; SIGTERM and SIGHUP kill it when it has not gone after
`GRACE` seconds. A program that somebody runs gets its signals and as much time as it takes; the third that asks it to
end kills it, as docker's do. Ctrl-Z stops both processes, `fg` continues both.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NoReturn

import msgspec

if TYPE_CHECKING:
    from trimaran.linux.cgroups import Confinement

GRACE = 4.0
FORWARDED = frozenset(
    {
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGWINCH,
        signal.SIGTSTP,
        signal.SIGCONT,
        signal.SIGUSR1,
        signal.SIGUSR2,
    }
)
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
_TIMED = frozenset({signal.SIGTERM, signal.SIGHUP})


class Manner(msgspec.Struct, frozen=True):
    """How many requests to end are passed on before the next one kills, and whether SIGTERM means "soon"."""

    asked: int
    timed: bool


WORK = Manner(asked=1, timed=True)
PROGRAM = Manner(asked=2, timed=False)


class State(msgspec.Struct, frozen=True):
    """What was asked so far: how often to end, by which signal, and when patience is over (monotonic seconds)."""

    requests: int = 0
    first: int = 0
    deadline: float | None = None


Action = Literal["forward", "kill", "stop"]


def decide(state: State, number: int, now: float, manner: Manner = WORK) -> tuple[State, Action]:
    """What a signal to the outer process means for the inner one."""
    if number == signal.SIGTSTP:
        return state, "stop"
    if number not in _ENDING:
        return state, "forward"
    deadline = state.deadline
    if deadline is None and manner.timed and number in _TIMED:
        deadline = now + GRACE
    following = State(state.requests + 1, state.first or number, deadline)
    return following, "kill" if state.requests >= manner.asked else "forward"


def watch(pid: int, *, alive: int, confinement: Confinement, terminal: bool, manner: Manner = WORK) -> NoReturn:
    """Serve the inner process `pid` until it ends, then end alike. Signals of FORWARDED and SIGCHLD are blocked."""
    _ = alive  # held open: its closing tells the inner process that we died before it could ask the kernel
    with suppress(OSError):  # it did so itself, or is gone
        os.setpgid(pid, pid)
    confinement.make(pid)
    state = State()
    while True:
        code = _ended(pid)
        if code is not None:
            confinement.remove()
            if terminal:
                take_foreground(os.getpgrp())
            _end_as(code, state)
        state = _serve(pid, state, manner, terminal=terminal)


def _serve(pid: int, state: State, manner: Manner, *, terminal: bool) -> State:
    """Wait for one signal and act on it."""
    if state.deadline is None:
        number = signal.sigwaitinfo(FORWARDED | {signal.SIGCHLD}).si_signo
    else:
        left = state.deadline - time.monotonic()
        answer = signal.sigtimedwait(FORWARDED | {signal.SIGCHLD}, max(left, 0.0))
        if answer is None:
            _kill(pid, signal.SIGKILL)
            return State(state.requests, state.first)
        number = answer.si_signo
    if number == signal.SIGCHLD:
        return state
    state, action = decide(state, number, time.monotonic(), manner)
    if action == "kill":
        _kill(pid, signal.SIGKILL)
    elif action == "stop":
        _stop(pid, terminal=terminal)
    else:
        _kill(pid, number)
    return state


def _ended(pid: int) -> int | None:
    """The wait status of the inner process once it has ended; a stopped one (Ctrl-Z on its terminal) stops us too."""
    ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
    if not ended:
        return None
    if os.WIFSTOPPED(status):
        _stop(pid, terminal=True)
        return None
    return status


def _stop(pid: int, *, terminal: bool) -> None:
    """Stop the inner process and ourselves, as the shell expects; go on with it when we are continued."""
    _kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    os.kill(os.getpid(), signal.SIGSTOP)
    if terminal:
        take_foreground(pid)
    _kill(pid, signal.SIGCONT)


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended; its status is ours to read
        os.kill(pid, number)


def take_foreground(group: int) -> None:
    """Make the process group the one that reads from our terminal; nothing where there is no terminal."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(fd, group)
    except OSError:
        pass  # not our session's terminal any more
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        os.close(fd)


def _end_as(status: int, state: State) -> NoReturn:
    """Exit with the inner process's code; die by its signal, unless it is the SIGKILL that we sent for another one."""
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    if state.first and number == signal.SIGKILL:
        os._exit(128 + state.first)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
