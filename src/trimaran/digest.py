"""Content digests: `algorithm:hex`, the names of all bytes here (OCI image-spec, descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
from typing import Any

from trimaran.errors import Corrupt

_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


class Digest(str):
    """A validated digest. Build one by `parse`, `of` or a hash object's `of_hash`; never from unchecked text."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Validate `text` (T55b: digests become file names and URLs); Corrupt when it is not one."""
        algorithm, _, hexadecimal = text.partition(":")
        if len(hexadecimal) != _HEX_LENGTH.get(algorithm, -1) or not _HEX.issuperset(hexadecimal):
            raise Corrupt(f"parse digest {text[:150]!r}: want sha256 or sha512 and lower-case hexadecimal digits")
        return cls(text)

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Digest:
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @classmethod
    def of_hash(cls, hasher: Any) -> Digest:
        """The digest a `hashlib` object holds now."""
        return cls(f"{hasher.name}:{hasher.hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    def hasher(self) -> Any:
        """A new `hashlib` object of this digest's algorithm, to verify bytes with."""
        return hashlib.new(self.algorithm)
