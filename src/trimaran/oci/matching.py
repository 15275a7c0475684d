"""Which manifest of an index a platform gets (pure)."""

from __future__ import annotations

from trimaran.oci import media_types
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.index import Index
from trimaran.platforms import Matcher, Platform, only

#: How attestation manifests are marked, so that nobody runs them (BuildKit, docs/attestations).
ATTESTATION = "vnd.docker.reference.type"


def image_manifests(index: Index) -> tuple[Descriptor, ...]:
    """The children that are images: no attestations, no artifacts."""
    return tuple(
        child
        for child in index.manifests
        if media_types.is_manifest(child.media_type) and not child.annotation(ATTESTATION)
    )


def pick(index: Index, platform: Platform | Matcher) -> Descriptor | None:
    """The best child for `platform` by containerd's order, the first among equals; None when none will do.

    Children without a platform are taken only where there is no other choice: a single one.
    """
    children = image_manifests(index)
    matcher = platform if isinstance(platform, Matcher) else only(platform)
    told = [child for child in children if child.platform is not None]
    best = matcher.best(child.platform for child in told if child.platform is not None)
    if best is not None:
        return told[best]
    return children[0] if len(children) == 1 and not told else None
