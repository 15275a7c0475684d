"""Looking for a few bytes everywhere: in files as they are and unpacked, in databases, in every process there is."""

from __future__ import annotations

import gzip
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import zstandard


def places_with(folder: Path, *needles: str) -> list[str]:
    """Files below `folder` that hold one of `needles`, packed or not, or are named so."""
    wanted = [needle.encode() for needle in needles]
    found = []
    for where, folders, files in os.walk(folder):
        found += [f"{where}/{name}" for name in (*folders, *files) if any(needle in name for needle in needles)]
        for name in files:
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                found += [f"{path}: {what}" for what, data in _forms(path) if any(each in data for each in wanted)]
    return found


def _forms(path: Path) -> Iterator[tuple[str, bytes]]:
    data = path.read_bytes()
    yield "as it is", data
    yield "unpacked", _unpacked(data)
    if data.startswith(b"SQLite format 3"):
        for table, value in _values(path):
            yield f"table {table}", value
            yield f"table {table}, unpacked", _unpacked(value)


def _unpacked(data: bytes) -> bytes:
    try:
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
        if data[:1] == b"\x78":
            return zlib.decompress(data)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        pass
    return b""


def _values(path: Path) -> Iterator[tuple[str, bytes]]:
    """What the rows say, wherever it lies: in the file or in its log."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, (str, bytes)):
                        yield table, value.encode() if isinstance(value, str) else value
    finally:
        connection.close()


class Sighting(NamedTuple):
    needle: str
    where: str  # cmdline or environ
    command: str
    environment: tuple[str, ...]


class Watching:
    """Looks, all the while, into the command line and the environment of every process of the machine.

    `seen`: what was found, once each. Processes that have `ours` in their environment are those that were given it.
    """

    def __init__(self, *needles: str, ours: str = "") -> None:
        self.seen: set[Sighting] = set()
        self._needles = needles
        self._ours = ours
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        own = str(os.getpid())
        while not self._stop.wait(0.005):
            for pid in os.listdir("/proc"):
                if pid.isdigit() and pid != own:
                    self._look(pid)

    def _look(self, pid: str) -> None:
        words, variables = (_content(f"/proc/{pid}/{name}") for name in ("cmdline", "environ"))
        for where, text in (("cmdline", words), ("environ", variables)):
            for needle in _among(self._needles, text):
                if where == "environ" and self._ours and f"{self._ours}\0" in variables:
                    continue
                self.seen.add(Sighting(needle, where, words.replace("\0", " "), tuple(variables.split("\0"))))


def _among(needles: Iterable[str], text: str) -> list[str]:
    return [needle for needle in needles if needle in text]


def _content(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:  # it ended while we looked
        return ""
