"""What the store's own disk says no to, in our words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from trimaran.errors import Denied, TrimaranError, Unavailable


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """OSErrors of the store's own disk in our words: full, read-only, not ours, failing."""
    try:
        yield
    except OSError as error:
        raise in_our_words(what, error) from error


def in_our_words(what: str, error: OSError) -> TrimaranError:
    message = f"{what}: {error.strerror}" + (f' "{error.filename}"' if error.filename else "")
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Unavailable(message, hint="free space on that disk, for example by `trimaran prune`")
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return Denied(message, hint="check who owns the store, or point TRIMARAN_ROOT at a folder you can write")
    return Unavailable(message)
