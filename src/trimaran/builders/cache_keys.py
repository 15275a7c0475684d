"""Keys of signed caches (`sign-key=`): files and environment variables of this machine, read before anything starts."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import UsageError
from trimaran.sources.given import KeySource

LEAST, LIMIT = 16, 4096
"""Bytes of a key: fewer can be guessed, more are no key."""


async def read(sources: Sequence[KeySource], environment: Mapping[str, str]) -> dict[KeySource, bytes]:
    """The keys that are here; one that is not set, or whose file is not there, is left out.

    A job that is not trusted has no key, and builds all the same. UsageError for what cannot be a key.
    """
    return await aio.in_thread(_read, tuple(dict.fromkeys(sources)), environment)


def _read(cancel: Cancel, sources: tuple[KeySource, ...], environment: Mapping[str, str]) -> dict[KeySource, bytes]:
    cancel.check()
    found = {}
    for source in sources:
        raw = _content(source) if source.path else os.fsencode(environment.get(source.variable, ""))
        if raw:
            found[source] = _checked(raw.rstrip(b"\r\n"), source)  # a file has the line's end, a variable has not
    return found


def _content(source: KeySource) -> bytes:
    """Empty where there is none. The file that was looked at is the one that is read."""
    try:
        with open(os.open(source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"read key {source}: it is no file")
            if status.st_mode & 0o077:
                raise UsageError(
                    f"read key {source}: others may read or change it (mode {stat.S_IMODE(status.st_mode):04o})",
                    hint=f"chmod 600 {source}, or give it in a variable: sign-key=env:NAME",
                )
            return file.read(LIMIT + 2)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(f"read key {source}: {(error.strerror or str(error)).lower()}") from None


def _checked(key: bytes, source: KeySource) -> bytes:
    if not LEAST <= len(key) <= LIMIT:
        raise UsageError(
            f"read key {source}: it has {len(key)} bytes, and a key has {LEAST} to {LIMIT}",
            hint="openssl rand -hex 32 makes one",
        )
    return key
