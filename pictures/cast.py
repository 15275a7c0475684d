"""A command on a terminal of its own, and what that terminal showed when."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyte

COLUMNS = 100
_LOOK = 0.1  # seconds between two looks at the screen
_MOST_ROWS = 60
_LAST = 3.0  # seconds the end is shown


class Span(NamedTuple):
    """Neighbouring characters of one look; `colour` is a name of pyte's, or "default"."""

    text: str
    colour: str
    bold: bool


Row = tuple[Span, ...]


class Frame(NamedTuple):
    seconds: float  # how long it is shown
    rows: tuple[Row, ...]


def record(command: Sequence[str], shown: str, folder: Path, environment: Mapping[str, str]) -> list[Frame]:
    """Run `command`; the frames begin with the prompt and `shown`, the words a person would have typed."""
    screen = pyte.Screen(COLUMNS, _MOST_ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"\x1b[32m$\x1b[0m {shown}\r\n".encode())
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", _MOST_ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdin=follower, stdout=follower, stderr=follower, close_fds=True
    )
    os.close(follower)
    frames = [(time.monotonic(), _rows(screen))]
    looked = time.monotonic()
    while True:
        ready, _, _ = select.select([leader], [], [], _LOOK)
        try:
            data = os.read(leader, 1 << 16) if ready else b""
        except OSError:  # the other end is closed
            break
        if not data and ready:
            break
        stream.feed(data)
        if time.monotonic() - looked >= _LOOK:
            looked = time.monotonic()
            _keep(frames, looked, _rows(screen))
    os.close(leader)
    process.wait()
    _keep(frames, time.monotonic(), _rows(screen))
    return _timed(frames)


def joined(*casts: list[Frame]) -> list[Frame]:
    """One after the other on one screen: each begins below what the one before left."""
    frames: list[Frame] = []
    above: tuple[Row, ...] = ()
    for cast in casts:
        frames += [Frame(frame.seconds, above + frame.rows) for frame in cast]
        above = (*frames[-1].rows, ())
    return frames


def _keep(frames: list[tuple[float, tuple[Row, ...]]], now: float, rows: tuple[Row, ...]) -> None:
    if rows != frames[-1][1]:
        frames.append((now, rows))


def _timed(frames: list[tuple[float, tuple[Row, ...]]]) -> list[Frame]:
    ends = [when for when, _ in frames[1:]] + [frames[-1][0] + _LAST]
    return [Frame(end - when, rows) for (when, rows), end in zip(frames, ends, strict=True)]


def _rows(screen: pyte.Screen) -> tuple[Row, ...]:
    """What is on the screen, without the empty rows below."""
    rows = [_row(screen.buffer[line]) for line in range(screen.lines)]
    while rows and not rows[-1]:
        rows.pop()
    return tuple(rows)


def _row(line: Mapping[int, pyte.screens.Char]) -> Row:
    spans: list[Span] = []
    for column in range(COLUMNS):
        character = line[column]
        if spans and (spans[-1].colour, spans[-1].bold) == (character.fg, character.bold):
            spans[-1] = spans[-1]._replace(text=spans[-1].text + character.data)
        else:
            spans.append(Span(character.data, character.fg, character.bold))
    while spans and not spans[-1].text.strip():
        spans.pop()
    return tuple(spans)
