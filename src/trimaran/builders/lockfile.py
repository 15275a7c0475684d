"""The lock file: what tags, URLs and git refs were when a build was last made, as JSON that reads well in a diff.

`{"version": 1, "image": {NAME: DIGEST}, "http": {URL: DIGEST}, "git": {"URL#REF": "COMMIT REF"}}`, keys sorted. A
build adds what it asked for and the file did not say; what it did not ask for stays, for other targets and builds.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from trimaran.builders.options import BuildOptions
from trimaran.errors import UsageError
from trimaran.sources.lock import GIT, HTTP, IMAGE, Kind, LockEntry, LockRequest
from trimaran.store.packing import unpack_json

VERSION = 1
_KINDS = (IMAGE, HTTP, GIT)
_WRITABLE = "name a file in a folder that can be written to; with --locked a file that is there is only read"


def request(options: BuildOptions) -> LockRequest:
    """What the file says; with `--pull` and no `--locked` it says nothing of images, so that they are asked for."""
    entries = read(options.lock, must_exist=options.locked)
    if options.pull and not options.locked:
        entries = tuple(entry for entry in entries if entry.kind != IMAGE)
    return LockRequest(entries=entries, strict=options.locked)


def read(path: str, *, must_exist: bool = False) -> tuple[LockEntry, ...]:
    """UsageError when it is there and no lock file; a file that is not there is empty unless it must be."""
    try:
        with open(path, "rb") as file:
            document = unpack_json(file.read(), object)
    except FileNotFoundError:
        if must_exist:
            raise UsageError(
                f"read lock {path}: no such file", hint=f"make it: build once with --lock {path}"
            ) from None
        _check_folder(path)
        return ()
    except OSError as error:
        raise UsageError(f"read lock {path}: {(error.strerror or str(error)).lower()}") from error
    except msgspec.DecodeError as error:
        raise _wrong(path, f"no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise _wrong(path, f"no lock of version {VERSION}")
    unknown = sorted(set(document) - {"version", *_KINDS})
    if unknown:
        raise _wrong(path, f"unknown key {unknown[0]!r}; known are {', '.join(_KINDS)}")
    return tuple(entry for kind in _KINDS for entry in _entries(path, document.get(kind, {}), kind))


def _check_folder(path: str) -> None:
    """UsageError where no file can be made: told before the build, not after it."""
    folder = os.path.dirname(path) or "."
    cause = "" if os.access(folder, os.W_OK | os.X_OK) else "cannot be written to"
    if not os.path.isdir(folder):
        cause = "is no folder" if os.path.exists(folder) else "is not there"
    if cause:
        raise UsageError(f"write lock {path}: its folder {cause}", hint=_WRITABLE)


def _entries(path: str, table: Any, kind: Kind) -> list[LockEntry]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise _wrong(path, f"{kind!r} holds something else than texts by name")
    return [LockEntry(kind, name, value) for name, value in table.items()]


def _wrong(path: str, cause: str) -> UsageError:
    return UsageError(f"read lock {path}: {cause}", hint="mend it, or remove it and build with --lock again")


def write(path: str, used: tuple[LockEntry, ...]) -> None:
    """Add what was used; whole or not at all, and not at all when nothing is new."""
    known = read(path)
    merged = {(entry.kind, entry.name): entry.value for entry in (*known, *used)}
    if len(known) == len(merged) and all(merged[entry.kind, entry.name] == entry.value for entry in known):
        return
    document: dict[str, Any] = {"version": VERSION}
    for kind in _KINDS:
        table = {name: value for (of, name), value in sorted(merged.items()) if of == kind}
        document |= {kind: table} if table else {}
    part = f"{path}.{os.urandom(4).hex()}.part"
    try:
        with open(part, "xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        os.replace(part, path)
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise UsageError(f"write lock {path}: {cause}; the build itself is done", hint=_WRITABLE) from error
