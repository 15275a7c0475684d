"""What real buildx recorded, replayed through our displays, gives what real buildx showed (goldens/display/VERSION)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cli.progress_lines import read_line
from trimaran.cli.display.plain import Plain
from trimaran.cli.display.rawjson import RawJson
from trimaran.cli.display.tty import Tty
from trimaran.events import Event

GOLDENS = Path(__file__).parents[1] / "goldens/display"
CASES = sorted(path.name for path in GOLDENS.iterdir() if path.is_dir())


def recorded(case: str) -> tuple[list[Event], int]:
    lines = (GOLDENS / case / "rawjson").read_bytes().splitlines()
    events = [event for line in lines for event in read_line(line)]
    return events, max(getattr(event, "completed", 0) for event in events)


def golden(case: str, name: str) -> str:
    return (GOLDENS / case / name).read_bytes().decode("utf-8", "surrogateescape").replace("\r\n", "\n")


def without_total(text: str) -> str:
    """The head's seconds are those of the replay, which buildx counts from when it was asked."""
    return re.sub(r"Building \d+\.\ds", "Building X", text)


def test_there_are_goldens() -> None:
    assert {"simple", "failing", "parallel-cancel", "warnings", "stages"} <= set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_plain(case: str) -> None:
    events, now = recorded(case)
    display = Plain()
    assert display.update(events, now) + display.finish(now) == golden(case, "plain")


@pytest.mark.parametrize("size", [(80, 24), (120, 50)])
@pytest.mark.parametrize("case", CASES)
def test_tty(case: str, size: tuple[int, int]) -> None:
    events, now = recorded(case)
    display = Tty(lambda: size)
    shown = display.update(events, now) + display.finish(now)
    assert without_total(shown) == without_total(golden(case, f"tty-{size[0]}x{size[1]}"))


@pytest.mark.parametrize("case", CASES)
def test_rawjson(case: str) -> None:
    events, now = recorded(case)
    wanted = json.loads(golden(case, "rawjson"))
    for warning in wanted.get("warnings", ()):
        del warning["sourceInfo"]["definition"]  # the graph that loaded the Dockerfile: of no use to a reader
    assert json.loads(RawJson().update(events, now)) == wanted
    if not wanted.get("warnings"):
        assert RawJson().update(events, now) == golden(case, "rawjson")


@pytest.mark.parametrize("case", CASES)
def test_plain_says_the_same_when_events_come_one_by_one(case: str) -> None:
    """Blocks may be cut and continued, but each line of the golden is said, and nothing is said that it has not."""
    events, now = recorded(case)
    display = Plain()
    out = "".join(display.update([event], now) for event in events) + display.finish(now)
    block = re.compile(r"^#\d+ ", re.MULTILINE)
    said, wanted = (set(block.sub("", text).splitlines()) for text in (out, golden(case, "plain")))
    assert wanted - said == set()
    outcomes = ("DONE", "CACHED", "CANCELED", "...")
    more = {line for line in said - wanted if not line.startswith(outcomes) and "done" not in line}
    assert all(any(whole.startswith(line) for whole in wanted) for line in more)
