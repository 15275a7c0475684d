"""What a step prints, without the secrets it was given: it is kept in the build's log, and shown to others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from trimaran.executor.process import Output

Needles = Mapping[str, tuple[bytes, ...]]
"""By id of a secret: the byte strings that tell it (`steps/leaks.py`)."""
MASK = b"***"


@contextmanager
def masked(wanted: Needles, output: Output) -> Iterator[Output]:
    """`output`, behind a mask over all that is `wanted`."""
    if not wanted:
        yield output
        return
    masking = Masking([needle for some in wanted.values() for needle in some], output)
    try:
        yield masking
    finally:
        masking.end()


class Masking:
    """What a step prints, given to `output` with `MASK` for every needle, also for one that comes in pieces.

    Only what may be the beginning of one is kept back, until more comes or the `end`.
    """

    def __init__(self, wanted: Iterable[bytes], output: Output) -> None:
        self._wanted = sorted(wanted, key=len, reverse=True)
        self._any = re.compile(b"|".join(re.escape(each) for each in self._wanted))
        self._output = output
        self._kept: dict[int, bytes] = {}

    def __call__(self, stream: int, data: bytes) -> None:
        text = self._kept.pop(stream, b"") + data
        whole = len(text) - max(_begun(text, each) for each in self._wanted)
        for found in self._any.finditer(text):  # one that is the beginning of a longer one waits, too
            if found.start() < whole < found.end():
                whole = found.end()
        if whole < len(text):
            self._kept[stream] = text[whole:]
        if whole:
            self._output(stream, self._any.sub(MASK, text[:whole]))

    def end(self) -> None:
        for stream, text in self._kept.items():
            self._output(stream, self._any.sub(MASK, text))
        self._kept.clear()


def _begun(text: bytes, needle: bytes) -> int:
    """How many bytes at the end of `text` are the beginning of `needle`."""
    start = max(0, len(text) - len(needle) + 1)
    while (start := text.find(needle[:1], start)) >= 0:
        if needle.startswith(text[start:]):
            return len(text) - start
        start += 1
    return 0
