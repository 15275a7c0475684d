"""Where the bytes of a blob can be had, for whoever sends them on: this machine, this build's sources, registries."""

from __future__ import annotations

from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.oci.blobs import Blobs
from trimaran.oci.descriptor import Descriptor
from trimaran.reference import Reference
from trimaran.registry.client import Registry
from trimaran.registry.repository import Repository
from trimaran.store.store import Store


async def place_of(store: Store, registry: Registry, blob: Descriptor) -> Blobs:
    """The store, the place this build resolved it at, or a repository known to hold it. NotFound."""
    if await store.content.has(blob):
        return store.content
    source = store.layers.source(blob.digest)
    if source is not None:
        return source
    for name in store.layers.repositories(blob.digest):
        repository = registry.repository(Reference.parse(name))
        if await repository.has(blob):
            return repository
    raise NotFound(f"push layer {blob.digest}: its bytes are neither in the store nor where they came from")


def mountable(store: Store, repository: Repository, digest: Digest) -> tuple[str, ...]:
    """Repositories of the target's registry that are known to hold the blob."""
    known = (Reference.parse(name) for name in store.layers.repositories(digest))
    registry = repository.reference.registry
    return tuple(r.repository for r in known if r.registry == registry and r.repository != repository.name)
