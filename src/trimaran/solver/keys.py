"""The one key of a step: what is done, and what it reads.

Pure. A key says nothing about the graph: two graphs that come to the same op over the same content share results.
Secrets, proxies and ssh sockets never get here: they are in neither `op` nor `reads`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from trimaran.digest import Digest
from trimaran.solver.protocols import KeyInput

_GENERATION = b"trimaran.key.2"
"""Changes when the meaning of keys changes, so that results of an older meaning are never found."""


def key_of(op: Digest, reads: Iterable[KeyInput]) -> Digest:
    """Unambiguous: every field goes in behind its length. What each read is of, the op says: they come in its order."""
    hasher = hashlib.sha256(_GENERATION)
    _feed(hasher, op)
    for read in reads:
        _feed(hasher, read.value)
    return Digest.of_hash(hasher)


def _feed(hasher: hashlib._Hash, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    hasher.update(b"%d:" % len(data))
    hasher.update(data)
