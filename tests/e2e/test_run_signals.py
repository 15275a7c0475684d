"""Signals of `trimaran run` are the program's, as process 1 of its container; its exit code is the command's."""

from __future__ import annotations

import signal
import subprocess
import time

from stage.contexts import Context
from stage.faulty import layers_of
from stage.program import Trimaran
from stage.watching import until

from trimaran.testing.registry import STALL, FaultyRegistry

LISTENS = """trap 'echo user; ' USR1; trap 'echo interrupted' INT; trap 'sleep 0.2; echo bye; exit 7' TERM
echo begun; while :; do sleep 0.05; done"""


def started(command: Trimaran, *words: str) -> subprocess.Popen[str]:
    process = command.start("run", "alpine", *words)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_a_program_hears_what_the_command_is_sent(either: Trimaran, bases: str) -> None:
    process = started(either, "sh", "-c", LISTENS)
    assert process.stdout is not None
    for number, said in ((signal.SIGUSR1, "user\n"), (signal.SIGINT, "interrupted\n"), (signal.SIGTERM, "bye\n")):
        process.send_signal(number)
        assert process.stdout.readline() == said
    assert process.wait(10) == 7, "what it exits with, however it came to that"


def test_a_program_that_does_not_listen_is_killed_by_the_third(either: Trimaran, bases: str) -> None:
    """Process 1 has no default actions, so the first two are nothing to it: as in docker."""
    process = started(either, "sh", "-c", "trap '' INT TERM; echo begun; exec sleep 60")
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.3)
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 128 + signal.SIGINT, "the first asked for"


def test_a_signal_before_there_is_a_program_ends_the_command(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context
) -> None:
    (layer,) = layers_of(faulty)
    faulty.fail(STALL, method="GET", path=layer, after=200_000, seconds=300, times=0)
    process = trimaran.start("run", f"{faulty.host}/alpine", "true")
    until(lambda: faulty.seen("GET", layer), "the layer is asked for")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
