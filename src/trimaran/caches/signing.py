"""Signed caches: records that only a job with the key can have written, under the name it wrote them for.

Who can write a cache can put anything into what is built with it, and nobody can check a record but by running its
step. Whom a registry lets write is often more than who is trusted (every job of every branch), so a cache may carry an
HMAC-SHA256 (RFC 2104) of all that a reader believes: its config (records, and on which blobs their layers stand), what
each blob is said to hold, and the name it is for. Law: with a key, nothing of a cache is believed before that fits.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from trimaran.caches.options import Signing
from trimaran.digest import Digest
from trimaran.errors import Denied
from trimaran.oci import documents
from trimaran.oci.descriptor import Descriptor
from trimaran.sources.given import KeySource

ANNOTATION = "trimaran/signature"
"""Of the config's descriptor in a manifest or index; BuildKit passes over what it does not know."""
METADATA = "trimaran-signature"
"""Of a bucket's object that is a config."""
DIFF_ID = "containerd.io/uncompressed"
"""The annotation of a cache's layer that says what its content is."""
_PURPOSE = "trimaran shared cache 1"
"""What a key signs here is a signature of nothing else."""
_METHOD = "hmac-sha256:"


class Signer:
    """One key for one name; it is never shown."""

    __slots__ = ("_key", "_scope")

    def __init__(self, key: bytes, scope: str) -> None:
        self._key = key
        self._scope = scope

    def sign(self, config: Digest, layers: Sequence[Descriptor]) -> str:
        """`layers` as the manifest has them, each with the annotation that says what it holds."""
        blobs = [[layer.media_type, str(layer.digest), layer.size, str(layer.annotation(DIFF_ID))] for layer in layers]
        statement = documents.encode([_PURPOSE, self._scope, str(config), blobs])
        return _METHOD + hmac.digest(self._key, statement, "sha256").hex()

    def check(self, signature: str, config: Digest, layers: Sequence[Descriptor]) -> None:
        """Denied, with what may be the matter, unless it was signed with this key for this name."""
        if not signature:
            raise Denied(
                "check its signature: it has none", hint="the job that writes it needs sign-key=… in --cache-to, too"
            )
        if not hmac.compare_digest(signature.encode(), self.sign(config, layers).encode()):
            raise Denied(
                f"check its signature: it is not one of this key for {self._scope}",
                hint="where the cache goes by another name since, sign-scope=NAME says what it was signed for",
            )


def signer_of(signing: Signing | None, place: str, keys: Mapping[KeySource, bytes]) -> Signer | None:
    """For a cache that is at `place`; None where none is asked for. Denied where the key is not here."""
    if signing is None:
        return None
    key = keys.get(signing.key)
    if key is None:
        raise Denied(f"sign: there is no key in {signing.key}", hint="only jobs that are trusted should have it")
    return Signer(key, signing.scope or place)
