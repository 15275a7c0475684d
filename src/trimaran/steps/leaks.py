"""Secrets where they must not be: in the layer that a step leaves (T59), or in what it prints (`steps/masking.py`).

A value is looked for as it was given, without white space around it; of one that has several lines (a key) also each
line that is key material. Shorter ones than `LEAST` are in everything, and are not looked for. A step that changes a
secret before it prints or keeps it is not found out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

import msgspec

from trimaran.aio import Cancel
from trimaran.graph.ops import ExecOp
from trimaran.steps.masking import Needles
from trimaran.steps.mounts import Prepared
from trimaran.store.entries import FILE, EntryList

LEAST = 8
_KEY_MATERIAL = re.compile(rb"[A-Za-z0-9+/=_-]{40,}")
_CHUNK = 1 << 20
_FILES_TOLD = 3


def needles_of(op: ExecOp, prepared: Prepared) -> Needles:
    """By id, what to look for of each secret that the step is given."""
    values = {mount.secret.id: value for mount, value in prepared.secrets.items() if mount.secret is not None}
    given = dict(variable.split("=", 1) for variable in prepared.variables)
    values |= {each.id: given[each.name].encode() for each in op.secret_env if each.name in given}
    found = {identifier: needles(value) for identifier, value in values.items()}
    return {identifier: some for identifier, some in found.items() if some}


def needles(value: bytes) -> tuple[bytes, ...]:
    whole = value.strip()
    lines = (line.strip() for line in whole.splitlines()) if b"\n" in whole else ()
    keys = [line for line in lines if _KEY_MATERIAL.fullmatch(line)]
    return tuple(dict.fromkeys(each for each in (whole, *keys) if len(each) >= LEAST))


class Leak(msgspec.Struct, frozen=True):
    """A secret that is in a layer, and in which of its paths."""

    secret: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        named = ", ".join(f"/{path}" for path in self.paths[:_FILES_TOLD])
        more = len(self.paths) - _FILES_TOLD
        return f"secret {self.secret} is in the layer of this step: {named}" + (f" and {more} more" if more > 0 else "")


WAY_OUT = (
    "Who gets the layer, in an image or a cache, can read it there, also when a later step removes the file.",
    "Let the step remove it itself, or write it to a RUN --mount=type=tmpfs.",
)


def search(cancel: Cancel, entries: EntryList, open_file: Callable[[str], int], wanted: Needles) -> list[Leak]:
    """Disk: read all files of a layer, and what else of it may hold text."""
    patterns = {
        identifier: re.compile(b"|".join(re.escape(each) for each in some)) for identifier, some in wanted.items()
    }
    overlap = max(len(each) for some in wanted.values() for each in some) - 1
    found: dict[str, list[str]] = {}
    for entry in entries:
        cancel.check()
        said = b"\0".join((os.fsencode(entry.path), os.fsencode(entry.target), *(value for _, value in entry.xattrs)))
        hits = {identifier for identifier, pattern in patterns.items() if pattern.search(said)}
        if entry.kind == FILE and entry.size >= LEAST:
            hits |= _search_file(cancel, open_file(entry.path), patterns, overlap)
        for identifier in hits:
            found.setdefault(identifier, []).append(entry.path)
    return [Leak(identifier, tuple(paths)) for identifier, paths in sorted(found.items())]


def _search_file(cancel: Cancel, fd: int, patterns: Mapping[str, re.Pattern[bytes]], overlap: int) -> set[str]:
    hits: set[str] = set()
    with open(fd, "rb", buffering=0) as file:
        before = b""
        while data := file.read(_CHUNK):
            cancel.check()
            text = before + data
            hits |= {name for name, pattern in patterns.items() if name not in hits and pattern.search(text)}
            before = text[-overlap:]
    return hits
