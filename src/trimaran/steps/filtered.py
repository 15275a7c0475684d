"""What `--exclude` and `--parents` leave of a folder that is copied.

Pure. Paths are relative to the folder; the folder itself is never left out. A folder that is not wanted is made all the
same, with what the source says of it, when something below it is wanted (fsutil's copy).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trimaran.patterns import PatternMatcher
from trimaran.store.entries import FOLDER, Entry


def filtered(
    entries: Iterable[tuple[str, Entry]], include: tuple[str, ...], exclude: tuple[str, ...]
) -> Iterator[tuple[str, Entry]]:
    """Those of `entries` (a folder before what is in it) that match `include` if there is any, and not `exclude`."""
    wanted = PatternMatcher(include) if include else None
    unwanted = PatternMatcher(exclude) if exclude else None
    known: dict[str, tuple[int, int]] = {"": (0, 0)}
    held: dict[str, Entry] = {}
    for path, entry in entries:
        above = known[path.rpartition("/")[0]]
        taken, included = wanted.child(path, above[0]) if wanted is not None else (True, 0)
        dropped, excluded = unwanted.child(path, above[1]) if unwanted is not None else (False, 0)
        if entry.kind == FOLDER:
            known[path] = included, excluded
        if taken and not dropped:
            yield from _held(path, held)
            yield path, entry
        elif entry.kind == FOLDER:
            held[path] = entry


def _held(path: str, held: dict[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """Folders above that were held back, from the top."""
    end = path.find("/")
    while held and end >= 0:
        folder = path[:end]
        if folder in held:
            yield folder, held.pop(folder)
        end = path.find("/", end + 1)
