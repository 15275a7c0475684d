"""Which image a name means: asked once per build, pinned for all platforms, own image store first.

Law: a tag is resolved at the registry on every build (its digest may have moved), but documents of a known digest are
read from the store. Nothing here fetches a layer. A lock's word goes before the registry's; a registry that does not
answer is stood in for by what it said last, if that is not too old.
"""

from __future__ import annotations

import time

import msgspec

from trimaran import aio
from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound, TrimaranError, Unavailable
from trimaran.oci import documents, media_types
from trimaran.oci import index as indexes
from trimaran.oci.blobs import Blobs, read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.index import Index
from trimaran.oci.manifest import Manifest
from trimaran.platforms import Platform
from trimaran.reference import Reference
from trimaran.registry.client import Registry
from trimaran.registry.errors import RegistryNotFound
from trimaran.sources.lock import IMAGE, Lock
from trimaran.sources.tags import Answers
from trimaran.store.content import Content
from trimaran.store.store import Store

STORE = "the local image store"


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """A name with what it points to now: an index or a manifest."""

    reference: Reference
    descriptor: Descriptor
    document: Manifest | Index
    origin: str
    """Who answered: STORE or the registry's host."""
    asked: int = 0
    """When that answer was given, if it was not now: nanoseconds since the epoch."""
    unanswered: str = ""
    """Why the registry did not answer now."""


class PickedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One platform's image of a pinned name. `blobs` has what is not in the store yet."""

    pinned: Pinned
    manifest: Manifest
    platform: Platform | None
    config: bytes
    diff_ids: tuple[Digest, ...]


class ImageResolver:
    """Answers of one build. Equal questions are asked once."""

    def __init__(
        self, store: Store, registry: Registry, lock: Lock | None = None, *, offline: bool = False, remember: int = 0
    ) -> None:
        """`remember`: seconds for which an answer stands in for a registry that gives none (`offline`: for ever)."""
        self._store = store
        self._registry = registry
        self._lock = lock or Lock()
        self._offline = offline
        self._remember = remember
        self._answers = Answers(store.records, "image")
        self._pinned: dict[tuple[str, str], Pinned] = {}
        self._picked: dict[tuple[Digest, Platform], PickedImage] = {}
        self._once = aio.Once()

    async def resolve(self, reference: Reference, platform: Platform, mode: str = "default") -> PickedImage:
        """The image of `reference` for `platform`; `mode` default | pull (registry only) | local (store only)."""
        pinned = await self._once.run(("pin", str(reference), mode), lambda: self._pin(reference, mode))
        wanted = (pinned.descriptor.digest, platform)
        return await self._once.run(wanted, lambda: self._pick(pinned, platform))

    async def of_store(self, descriptor: Descriptor, platform: Platform) -> PickedImage:
        """The image of the store that `descriptor` names, for `platform`: for images without a name."""
        document = indexes.parse_any(await read_all(self._store.content, descriptor), descriptor.media_type)
        unnamed = Reference(registry="", repository="", tag="", digest=descriptor.digest)
        pinned = Pinned(reference=unnamed, descriptor=descriptor, document=document, origin=STORE)
        return await self._pick(pinned, platform)

    def blobs(self, pinned: Pinned) -> Blobs | None:
        """Where what is not in the store comes from; None for an image of the store."""
        return None if pinned.origin == STORE else self._repository(pinned.reference, pinned.reference.familiar)

    def holder(self, digest: Digest) -> tuple[Blobs, str]:
        """A repository that holds a blob of a stored image whose bytes never came here (its base was only pushed)."""
        for name in self._store.layers.repositories(digest):
            return self._repository(Reference.parse(name), name), name
        raise NotFound(
            f"read layer {digest}: it is neither in the store nor is a registry known that has it",
            hint="build or pull the image again",
        )

    def _repository(self, reference: Reference, name: str) -> Blobs:
        """The repository of `reference`, or with `offline` one that has nothing and says of what name it is."""
        if self._offline:
            from trimaran.sources.offline import Offline

            return Offline(name)
        return self._registry.repository(reference)

    async def _pin(self, reference: Reference, mode: str) -> Pinned:
        known = self._pinned.get((str(reference), mode))
        if known is None:
            known = await self._find_locked(reference, mode)
            self._pinned[str(reference), mode] = known
            self._pinned[str(reference.with_digest(known.descriptor.digest)), mode] = known
        return known

    async def _find_locked(self, reference: Reference, mode: str) -> Pinned:
        if reference.digest is not None:
            return await self._find(reference, mode)
        locked = self._lock.value(IMAGE, str(reference))
        found = await self._find(reference.with_digest(Digest.parse(locked)) if locked else reference, mode)
        self._lock.note(IMAGE, str(reference), found.descriptor.digest)
        return found

    async def _find(self, reference: Reference, mode: str) -> Pinned:
        if mode != "pull":
            descriptor = self._store.images.get(str(msgspec.structs.replace(reference, digest=None)))
            if descriptor is not None and reference.digest in (None, descriptor.digest):
                raw = await read_all(self._store.content, descriptor)
                document = indexes.parse_any(raw, descriptor.media_type)
                return Pinned(reference=reference, descriptor=descriptor, document=document, origin=STORE)
        if mode == "local":
            raise NotFound(f"find image {reference.familiar}: it is not in the local image store")
        if self._offline:
            return await self._recall(reference, "")
        try:
            return await self._ask_registry(reference)
        except Unavailable as error:
            if not self._remember:
                raise
            return await self._recall(reference, error.message, error)

    async def _recall(self, reference: Reference, cause: str, error: Unavailable | None = None) -> Pinned:
        """What the registry said last, whose documents are here; else `error`, or NotFound when nobody was asked."""
        known = self._answers.get(str(reference))
        fresh = known is not None and (error is None or time.time_ns() - known.asked < self._remember * 1_000_000_000)
        descriptor = _descriptor(known.value) if known is not None and fresh else None
        raw = await kept_document(self._store.content, descriptor) if descriptor is not None else None
        if known is None or descriptor is None or raw is None:
            if error is not None:
                raise error
            from trimaran.sources.offline import missing

            raise missing(f"find image {reference.familiar}")
        document = indexes.parse_any(raw, descriptor.media_type)
        return Pinned(
            reference=reference,
            descriptor=descriptor,
            document=document,
            origin=reference.registry,
            asked=known.asked,
            unanswered=cause,
        )

    async def _ask_registry(self, reference: Reference) -> Pinned:
        repository = self._registry.repository(reference)
        try:
            descriptor = await repository.resolve(str(reference.digest or reference.tag))
        except RegistryNotFound as error:
            raise NotFound(
                f"find image {reference.familiar}: {reference.registry} has no such image: {error}",
                hint=f"check the name and tag; for a private repository: trimaran login {reference.registry}",
            ) from error
        raw = await kept_document(self._store.content, descriptor)
        if raw is None:
            descriptor, raw = await repository.get_manifest(str(descriptor.digest))
            self._store.content.put(raw, descriptor.media_type)
        document = indexes.parse_any(raw, descriptor.media_type)
        answer = f"{descriptor.digest} {descriptor.size} {descriptor.media_type}"
        self._answers.put(str(reference), answer)
        self._answers.put(str(reference.with_digest(descriptor.digest)), answer)
        return Pinned(reference=reference, descriptor=descriptor, document=document, origin=reference.registry)

    async def _pick(self, pinned: Pinned, platform: Platform) -> PickedImage:
        known = self._picked.get((pinned.descriptor.digest, platform))
        if known is not None:
            return known
        manifest, found = await self._manifest(pinned, platform)
        config = await self._document(pinned, manifest.config)
        picked = PickedImage(
            pinned=pinned,
            manifest=manifest,
            platform=found or _platform_of(config),
            config=config,
            diff_ids=_diff_ids(config, manifest, pinned),
        )
        self._picked[pinned.descriptor.digest, platform] = picked
        return picked

    async def _manifest(self, pinned: Pinned, platform: Platform) -> tuple[Manifest, Platform | None]:
        if isinstance(pinned.document, Manifest):
            return pinned.document, None
        child = indexes.pick(pinned.document, platform, pinned.reference.familiar)
        document = indexes.parse_any(await self._document(pinned, child), child.media_type)
        if not isinstance(document, Manifest):
            raise NotFound(f"pick an image of {pinned.reference.familiar} for {platform}: the index holds an index")
        return document, child.platform

    async def _document(self, pinned: Pinned, descriptor: Descriptor) -> bytes:
        """A manifest or config, from the store or else from where the name was found, and kept."""
        kept = await kept_document(self._store.content, descriptor)
        if kept is not None:
            return kept
        source = self.blobs(pinned)
        if source is None:
            raise NotFound(f"read {descriptor.digest} of {pinned.reference.familiar}: it is gone from the store")
        if media_types.is_manifest(descriptor.media_type) and not self._offline:
            _, raw = await self._registry.repository(pinned.reference).get_manifest(str(descriptor.digest))
        else:
            raw = await read_all(source, descriptor)
        self._store.content.put(raw, descriptor.media_type)
        return raw


async def kept_document(content: Content, descriptor: Descriptor) -> bytes | None:
    """A manifest or config whole; None when it is not here, or was found broken and so is here no longer."""
    if not await content.has(descriptor):
        return None
    try:
        return await read_all(content, descriptor)
    except Corrupt:
        if content.size(descriptor.digest) is not None:
            raise
        return None


def _descriptor(answer: str) -> Descriptor:
    digest, size, media_type = answer.split(" ", 2)
    return Descriptor(media_type=media_type, digest=Digest(digest), size=int(size))


def _platform_of(config: bytes) -> Platform | None:
    try:
        fields = documents.check(config, "image config", limit=documents.CONFIG_LIMIT)
    except TrimaranError:
        return None
    system, architecture = fields.get("os"), fields.get("architecture")
    if not isinstance(system, str) or not isinstance(architecture, str) or not system:
        return None
    return Platform(system, architecture, str(fields.get("variant") or ""))


def _diff_ids(config: bytes, manifest: Manifest, pinned: Pinned) -> tuple[Digest, ...]:
    rootfs = documents.check(config, "image config", limit=documents.CONFIG_LIMIT).get("rootfs")
    listed = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    diff_ids = tuple(Digest.parse(text) for text in listed or () if isinstance(text, str))
    if len(diff_ids) != len(manifest.layers):
        from trimaran.errors import Corrupt

        raise Corrupt(
            f"read image {pinned.reference.familiar}: "
            f"its config names {len(diff_ids)} layers, its manifest {len(manifest.layers)}"
        )
    return diff_ids
