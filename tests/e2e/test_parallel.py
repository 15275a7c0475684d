"""Several builds at once on one store: equal work is done once, other work is not disturbed."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator

import pytest
from stage import reading
from stage.answers import Answers
from stage.contexts import Context
from stage.faulty import layers_of
from stage.program import TIMEOUT, Trimaran
from stage.watching import Screen, until

from trimaran.testing.registry import FaultyRegistry

# What two runs of this step give is never equal, so who has the same file has the same run.
ONCE = "FROM alpine\nRUN sleep 1; head -c 16 /dev/urandom | md5sum > /id\nCMD cat /id\n"


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers(held=1).serving() as running:
        yield running


def all_end(*processes: subprocess.Popen[str]) -> list[str]:
    """What each said on its standard error; each has to end well."""
    said = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == 0, text
    return said


def was_cached(screen: str, step: str) -> bool:
    found = re.search(rf"^#(\d+) \[[^]]*\] {step}", screen, re.M)
    assert found, screen
    return f"\n#{found[1]} CACHED\n" in screen


@pytest.mark.parametrize("count", [2, 4])
def test_equal_builds_run_once(either: Trimaran, bases: str, context: Context, count: int) -> None:
    context.dockerfile(ONCE)
    words = ("build", "--progress=plain", "-t")
    said = all_end(*(either.start(*words, f"equal{n}", ".", cwd=context.folder) for n in range(count)))
    assert len({either("run", f"equal{number}").stdout for number in range(count)}) == 1
    ran = [text for text in said if not was_cached(text, "RUN sleep")]
    assert len(ran) == 1


def test_equal_steps_of_different_builds_run_once(trimaran: Trimaran, bases: str, context: Context) -> None:
    processes = []
    for who in "ab":
        context.write(f"{who}.Dockerfile", ONCE + f"ENV WHO={who}\nRUN echo $WHO > /who\nCMD cat /id /who\n")
        processes.append(trimaran.start("build", "-t", who, "-f", f"{who}.Dockerfile", ".", cwd=context.folder))
    all_end(*processes)
    first, second = (trimaran("run", who).stdout.splitlines() for who in "ab")
    assert first[0] == second[0]
    assert (first[1], second[1]) == ("a", "b")


def test_base_is_pulled_once_by_all(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    (layer,) = layers_of(faulty)
    processes = []
    for who in "abcd":
        context.write(f"{who}.Dockerfile", f"FROM {faulty.host}/alpine\nRUN echo {who} > /who\nCMD cat /who\n")
        processes.append(trimaran.start("build", "-t", who, "-f", f"{who}.Dockerfile", ".", cwd=context.folder))
    all_end(*processes)
    assert [trimaran("run", who).stdout for who in "abcd"] == ["a\n", "b\n", "c\n", "d\n"]
    assert len(faulty.seen("GET", layer)) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_who_waits_goes_on_when_the_other_is_killed(
    trimaran: Trimaran, bases: str, context: Context, answers: Answers, number: signal.Signals
) -> None:
    """The step is the first one's until it dies; then it is run again by the one that waited for it."""
    context.dockerfile(f"FROM alpine\nRUN wget -q -O /said {answers.url}/step\nCMD cat /said\n")
    words = ("build", "--progress=plain", "-t", "waited", ".")
    first = trimaran.start(*words, cwd=context.folder)
    until(lambda: len(answers.asked) == 1, "the step runs")
    second = trimaran.start(*words, cwd=context.folder)
    screen = Screen(second)
    screen.until(r"\[2/2\] RUN wget")
    with pytest.raises(AssertionError):
        until(lambda: len(answers.asked) > 1, "the second runs the step too", 0.5)
    first.send_signal(number)
    screen.rest()
    assert second.wait(10) == 0
    assert len(answers.asked) == 2
    assert trimaran("run", "waited").stdout == "2\n"


def test_who_waits_is_not_hurt_by_a_failure(trimaran: Trimaran, bases: str, context: Context, answers: Answers) -> None:
    """A step that failed for one is tried again by the other."""
    step = f"RUN wget -q -O /said {answers.url}/step && test $(cat /said) = 2"
    context.dockerfile(f"FROM alpine\n{step}\nCMD cat /said\n")
    words = ("build", "--progress=plain", "-t", "waited", ".")
    first = trimaran.start(*words, cwd=context.folder)
    until(lambda: len(answers.asked) == 1, "the step runs")
    second = trimaran.start(*words, cwd=context.folder)
    screen = Screen(second)
    screen.until(r"\[2/2\] RUN wget")
    answers.go.set()
    assert first.wait(30) == 1
    screen.rest()
    assert second.wait(10) == 0


def test_one_destination_of_two_builds_is_whole(trimaran: Trimaran, bases: str, context: Context) -> None:
    dest = trimaran.home / "image.tar"
    processes = []
    for who in "ab":
        context.write(f"{who}.Dockerfile", f"FROM alpine\nRUN echo {who} > /who\n")
        words = ("build", "-f", f"{who}.Dockerfile", "-o", f"type=oci,dest={dest}", ".")
        processes.append(trimaran.start(*words, cwd=context.folder))
    all_end(*processes)
    assert reading.skopeo("inspect", f"oci-archive:{dest}")
    assert [path.name for path in trimaran.home.iterdir() if "image.tar" in path.name] == ["image.tar"]


def test_one_name_of_two_builds_is_one_image(either: Trimaran, bases: str, context: Context) -> None:
    processes = []
    for who in "ab":
        context.write(f"{who}.Dockerfile", f"FROM alpine\nRUN echo {who} > /who\nCMD cat /who\n")
        processes.append(either.start("build", "-t", "both", "-f", f"{who}.Dockerfile", ".", cwd=context.folder))
    all_end(*processes)
    assert either("run", "both").stdout in ("a\n", "b\n")
    assert either("images").stdout.count("both") == 1
