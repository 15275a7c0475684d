"""The store's own random key: hashes made with it say nothing to who has not the store."""

from __future__ import annotations

import os
from contextlib import suppress

_BYTES = 32


def secret_key(root: str) -> bytes:
    """The key in `root`, made (mode 0600) when there is none; one that is no key is replaced."""
    path = os.path.join(root, "secret.key")
    for _ in range(3):
        with suppress(FileNotFoundError), open(path, "rb") as file:
            key = file.read(_BYTES + 1)
            if len(key) == _BYTES:
                return key
            with suppress(FileNotFoundError):
                os.unlink(path)
        _make(path)
    raise AssertionError("the store's key does not stay")


def _make(path: str) -> None:
    """Whole or not at all; when another process was quicker, its key stands."""
    part = f"{path}.{os.urandom(8).hex()}"  # not our process id: in the engine's namespace that is always 1
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, os.urandom(_BYTES))
        os.fsync(fd)
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        os.close(fd)
        os.unlink(part)
