"""Secrets of this machine's user: files and environment variables, read when a step asks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import msgspec

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import NotFound, UsageError
from trimaran.sources.given import SECRET_LIMIT, SecretSource


class LocalSecrets:
    """`sources.given.Secrets`. UsageError or NotFound at once for what cannot be a secret: before any step runs."""

    def __init__(
        self, sources: Sequence[SecretSource], environment: Mapping[str, str], values: Mapping[str, bytes] | None = None
    ) -> None:
        """`values` are secrets whose bytes were handed over, by id: they go before sources of the same id."""
        self._environment = environment
        self._values = values or {}
        self._sources = {source.id: _decided(source, environment) for source in sources}
        for source in self._sources.values():
            if source.path:
                _check(source)

    def in_key(self, identifier: str) -> bool:
        return identifier in self._sources and self._sources[identifier].in_key

    async def get(self, identifier: str) -> bytes | None:
        if identifier in self._values:
            return self._values[identifier]
        source = self._sources.get(identifier)
        if source is None:
            return None
        if source.path:
            return await aio.in_thread(_read, source)
        value = os.fsencode(self._environment.get(source.variable, ""))  # one that is not set is empty, as in BuildKit
        if len(value) > SECRET_LIMIT:
            raise _too_large(source)
        return value


def _decided(source: SecretSource, environment: Mapping[str, str]) -> SecretSource:
    """An id alone names a variable where there is one of that name, else a file."""
    if source.path or source.variable:
        return source
    if source.id in environment:
        return msgspec.structs.replace(source, variable=source.id)
    return msgspec.structs.replace(source, path=source.id)


def _check(source: SecretSource) -> None:
    try:
        size = os.stat(source.path).st_size
    except OSError as error:
        raise NotFound(
            f"read secret {source.id}: {source.path}: {(error.strerror or '').lower()}",
            hint="give --secret id=NAME,src=FILE or --secret id=NAME,env=VARIABLE",
        ) from error
    if os.path.isdir(source.path):
        raise UsageError(f"read secret {source.id}: {source.path} is a folder", hint="a secret is one file")
    if size > SECRET_LIMIT:
        raise _too_large(source)


def _read(cancel: Cancel, source: SecretSource) -> bytes:
    cancel.check()
    try:
        with open(source.path, "rb") as file:
            value = file.read(SECRET_LIMIT + 1)
    except OSError as error:
        raise NotFound(f"read secret {source.id}: {source.path}: {(error.strerror or '').lower()}") from error
    if len(value) > SECRET_LIMIT:
        raise _too_large(source)
    return value


def _too_large(source: SecretSource) -> UsageError:
    return UsageError(
        f"read secret {source.id}: it is larger than {SECRET_LIMIT >> 10} KiB",
        hint="mount what is no secret with --mount=type=bind",
    )
