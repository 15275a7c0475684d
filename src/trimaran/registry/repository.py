"""A repository of a registry: its manifests and tags, and its blobs as `oci.Blobs`.

Reading asks the mirrors first, then the registry; writing and `has` ask the registry only. Everything that comes is
verified; what a server says of a digest (Docker-Content-Digest) is never believed where bytes can be hashed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from trimaran import events
from trimaran.digest import Digest
from trimaran.errors import Corrupt, TrimaranError, Unavailable
from trimaran.oci import documents, media_types
from trimaran.oci import index as indexes
from trimaran.oci.blobs import Sink
from trimaran.oci.descriptor import Descriptor
from trimaran.reference import Reference
from trimaran.registry import upload
from trimaran.registry.auth import PULL, PUSH, Scope
from trimaran.registry.download import Download
from trimaran.registry.endpoint import Endpoint
from trimaran.registry.errors import CertificateRefused, RegistryError, RegistryNotFound, RegistryRefused
from trimaran.registry.http import Response
from trimaran.registry.retry import retrying
from trimaran.registry.upload import Broken, Present, Upload
from trimaran.registry.urls import Url

T = TypeVar("T")

_ACCEPT = ("Accept", media_types.ACCEPT)
_TAGS_LIMIT = 8 << 20
_PAGES = 1000


class Repository:
    """Made by `client.Registry.repository`; `name` is the repository's (without registry, tag, digest).

    `mount_from`: repositories of the same registry known to hold blobs; tried in turn before bytes are sent.
    """

    def __init__(
        self,
        reference: Reference,
        endpoints: tuple[Endpoint, ...],
        *,
        sink: events.Sink = events.discard,
        looked_at: Callable[[], str] = str,
    ) -> None:
        self.reference = reference
        self.name = reference.repository
        self.mount_from: dict[Digest, tuple[str, ...]] = {}
        self._endpoints = endpoints
        self._sink = sink
        self._looked_at = looked_at
        self._broken: dict[Digest, Broken] = {}

    @property
    def host(self) -> str:
        """The registry's name, as in references."""
        return self.reference.registry

    @property
    def _origin(self) -> Endpoint:
        return self._endpoints[-1]

    def _scopes(self, actions: str = PULL, *others: str) -> tuple[Scope, ...]:
        return (Scope(self.name, actions), *(Scope(other, PULL) for other in others))

    async def _first(self, operation: Callable[[Endpoint], Awaitable[T]]) -> T:
        """The result of the first host that has one: mirrors that fail in whatever way are passed over."""
        complaints = []
        for endpoint in self._endpoints[:-1]:
            try:
                return await operation(endpoint)
            except TrimaranError as error:
                complaints.append(f"{endpoint.host.label}: {error}")
        try:
            return await retrying(lambda: operation(self._origin))
        except RegistryError as error:
            raise self._explained(error, complaints) from None

    def _explained(self, error: RegistryError, complaints: list[str]) -> RegistryError:
        """The registry's own error, with what the mirrors said and which files were looked up."""
        if complaints:
            error.message = f"{error.message} (before that: {'; '.join(complaints)})"
        untrusted = isinstance(error, CertificateRefused) and error.untrusted
        if isinstance(error, Unavailable) and error.answer is None and (untrusted or not error.hint):
            ways = 'a mirror or plain HTTP is set by {} mirrors = ["HOST"] or http = true'
            if untrusted:
                ways = 'whom to trust is set by {} ca = ["FILE"]'
            table = f'[registry."{self._origin.host.name}"]'
            error.hint = f"registry settings were looked up in {self._looked_at()}; {ways.format(table)}"
        return error

    # -- manifests ----------------------------------------------------------------------------------------------

    async def get_manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        """The manifest or index under a tag or digest, and its descriptor, made from its bytes.

        RegistryNotFound when there is none; Corrupt when the bytes are not the digest's or can be read in two ways.
        """

        async def ask(endpoint: Endpoint) -> tuple[Descriptor, bytes]:
            url = await endpoint.url(f"{self.name}/manifests/{reference}")
            async with endpoint.request(
                "GET", url, scopes=self._scopes(), headers=[_ACCEPT], sink=self._sink
            ) as response:
                raw = await response.read_all(documents.MANIFEST_LIMIT)
                return self._verified(reference, raw, _media_type(response)), raw

        return await self._first(ask)

    def _verified(self, reference: str, raw: bytes, media_type: str) -> Descriptor:
        """Of these bytes; nothing is made of them before they are known to be those of the digest asked for."""
        if ":" not in reference:
            return self._parsed(reference, raw, media_type)
        wanted = Digest.parse(reference)
        hasher = wanted.hasher()
        hasher.update(raw)
        if Digest.of_hash(hasher) != wanted:
            raise Corrupt(f"read {self.reference.name}@{wanted}: the registry sent other bytes")
        found = self._parsed(reference, raw, media_type)
        return Descriptor(media_type=found.media_type, digest=wanted, size=len(raw))

    def _parsed(self, reference: str, raw: bytes, media_type: str) -> Descriptor:
        try:
            return indexes.parse_any(raw, media_type).descriptor
        except Corrupt as error:
            error.message = f"read {self.reference.name}:{reference}: {error.message}"
            raise

    async def resolve(self, reference: str) -> Descriptor:
        """What a tag or digest stands for now, by HEAD (cheap; the digest is the server's word until it is read).

        RegistryNotFound when there is nothing. Where HEAD tells no digest, or another than was asked for, it is read
        instead.
        """

        async def ask(endpoint: Endpoint) -> Descriptor | None:
            url = await endpoint.url(f"{self.name}/manifests/{reference}")
            async with endpoint.request(
                "HEAD", url, scopes=self._scopes(), headers=[_ACCEPT], sink=self._sink
            ) as response:
                text = response.headers.get("docker-content-digest", "")
                if ":" in reference and text != reference:
                    return None  # whatever it says that this is: what was asked for is what its bytes are
                length = response.headers.get("content-length", "")
                media_type = _media_type(response)
                if text and length.isdecimal() and media_types.valid(media_type):
                    return Descriptor(media_type=media_type, digest=Digest.parse(text), size=int(length))
            return None

        return await self._first(ask) or (await self.get_manifest(reference))[0]

    async def put_manifest(self, raw: bytes, media_type: str, reference: str = "") -> Descriptor:
        """Put a manifest or index under a tag, or (default) its digest. What it names must be there already."""
        descriptor = Descriptor.of(raw, media_type)
        endpoint = self._origin
        target = reference or descriptor.digest

        async def put() -> None:
            url = await endpoint.url(f"{self.name}/manifests/{target}")
            async with endpoint.request(
                "PUT",
                url,
                scopes=self._scopes(PUSH),
                headers=[("Content-Type", media_type)],
                body=raw,
                accept=(200, 201, 202),
                sink=self._sink,
            ) as response:
                said = response.headers.get("docker-content-digest", "")
                await response.read_all(documents.MANIFEST_LIMIT)
            if said and said.startswith("sha256:") and said != descriptor.digest:
                raise Corrupt(
                    f"push {self.reference.name}:{target}: the registry stored {said[:80]}, not what was sent"
                )

        await self._pushing(put)
        return descriptor

    async def tags(self) -> list[str]:
        """All tags, in the registry's order."""
        import msgspec

        endpoint = self._origin
        url = await endpoint.url(f"{self.name}/tags/list")
        found: list[str] = []
        for _ in range(_PAGES):
            async with endpoint.request("GET", url, scopes=self._scopes(), sink=self._sink) as response:
                raw = await response.read_all(_TAGS_LIMIT)
                link = response.headers.get("link", "")
            try:
                page = msgspec.json.decode(raw, type=dict[str, object]).get("tags") or []
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Corrupt(f"GET {url.redacted}: {error}") from None
            if not isinstance(page, list):
                raise Corrupt(f"GET {url.redacted}: tags are no list")
            found += [tag for tag in page if isinstance(tag, str)]
            if 'rel="next"' not in link or not link.startswith("<"):
                break
            following = url.join(link[1:].partition(">")[0])
            if following.origin != url.origin:
                raise Corrupt(f"GET {url.redacted}: the next page lies on {following.netloc}")
            url = following
        return found

    # -- blobs --------------------------------------------------------------------------------------------------

    def _path(self, descriptor: Descriptor) -> str:
        kind = "manifests" if descriptor.media_type in media_types.MANIFESTS | media_types.INDEXES else "blobs"
        return f"{self.name}/{kind}/{descriptor.digest}"

    async def has(self, descriptor: Descriptor) -> bool:
        """Whether the registry itself (no mirror) has the blob or manifest in this repository."""
        endpoint = self._origin

        async def ask() -> bool:
            url = await endpoint.url(self._path(descriptor))
            try:
                async with endpoint.request(
                    "HEAD", url, scopes=self._scopes(), headers=[_ACCEPT], sink=self._sink
                ) as response:
                    length = response.headers.get("content-length", "")
                    return not length.isdecimal() or int(length) == descriptor.size
            except RegistryNotFound:
                return False

        return await self._pushing(ask)

    @asynccontextmanager
    async def read(self, descriptor: Descriptor) -> AsyncIterator[Download]:
        """A blob (or, by its media type, a manifest), verified; NotFound on entering when no host has it."""

        async def begin(endpoint: Endpoint) -> Download:
            download = Download(endpoint, self._path(descriptor), descriptor, self._scopes(), self._sink)
            try:
                await download.open()
            except BaseException:
                await download.close()
                raise
            return download

        try:
            download = await self._first(begin)
        except RegistryNotFound as error:
            if not error.hint and "/blobs/" in self._path(descriptor):
                error.hint = f"an image of {self.name} names it, and the registry has lost it: push that image again"
            raise
        try:
            yield download
        finally:
            await download.close()

    @asynccontextmanager
    async def ingest(self, media_type: str, expected: Descriptor | None = None) -> AsyncIterator[Sink]:
        """A sink that sends to the registry. With `expected`: mounted from a known repository where that works, taken
        up again where an earlier try broke off, else one streamed request."""
        if media_type in media_types.MANIFESTS | media_types.INDEXES:
            yield ManifestSink(self, media_type)
            return
        sink = await self._pushing(lambda: self._start(media_type, expected))
        if isinstance(sink, Present):
            yield sink
            return
        try:
            yield sink
        except RegistryError as error:
            raise self._explained(error, []) from None
        finally:
            broken = await sink.close()
            if expected is not None and broken is not None:
                self._broken[expected.digest] = broken

    async def _pushing(self, operation: Callable[[], Awaitable[T]]) -> T:
        try:
            return await retrying(operation)
        except RegistryError as error:
            raise self._explained(error, []) from None

    async def _start(self, media_type: str, expected: Descriptor | None) -> Present | Upload:
        if expected is not None:
            resumed = await self._resume(media_type, expected)
            if resumed is not None:
                return resumed
            opened: Upload | None = None
            for source in self.mount_from.get(expected.digest, ()):
                mounted = await self._mount(media_type, expected, source)
                if isinstance(mounted, Present):
                    return mounted
                opened = mounted or opened
            if opened is not None:
                return opened
        endpoint = self._origin
        url = await endpoint.url(f"{self.name}/blobs/uploads/")
        scopes = self._scopes(PUSH)
        async with endpoint.request("POST", url, scopes=scopes, accept=(202,), sink=self._sink) as response:
            await response.read_all(documents.MANIFEST_LIMIT)
            return self._session(upload.next_location(url, response), media_type, expected)

    def _session(self, url: Url, media_type: str, expected: Descriptor | None) -> Upload:
        return Upload(self._origin, url, media_type, expected, scopes=self._scopes(PUSH), sink=self._sink)

    async def _resume(self, media_type: str, expected: Descriptor) -> Upload | None:
        broken = self._broken.pop(expected.digest, None)
        if broken is None or not upload.usable(broken):
            return None
        session = self._session(broken.url, media_type, expected)
        try:
            await session.resume()
        except TrimaranError:
            return None  # the registry has dropped it: begin anew
        return session

    async def _mount(self, media_type: str, expected: Descriptor, source: str) -> Present | Upload | None:
        """Mounted (201), or the upload that the registry opened instead (202), or None after any refusal at all."""
        endpoint = self._origin
        url = await endpoint.url(f"{self.name}/blobs/uploads/", {"mount": expected.digest, "from": source})
        scopes = self._scopes(PUSH, source)
        try:
            async with endpoint.request("POST", url, scopes=scopes, accept=(201, 202), sink=self._sink) as response:
                await response.read_all(documents.MANIFEST_LIMIT)
                if response.status == 201:
                    return Present(expected)
                return self._session(upload.next_location(url, response), media_type, expected)
        except TrimaranError:
            return None


class ManifestSink:
    """A `Sink` for manifests and indexes, put under their digest."""

    def __init__(self, repository: Repository, media_type: str) -> None:
        self._repository = repository
        self._media_type = media_type
        self._parts: list[bytes] = []
        self._size = 0

    async def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > documents.MANIFEST_LIMIT:
            raise RegistryRefused(f"push manifest: more than {documents.MANIFEST_LIMIT} bytes")
        self._parts.append(data)

    async def commit(self, expected: Descriptor | None = None) -> Descriptor:
        raw = b"".join(self._parts)
        found = Descriptor.of(raw, self._media_type)
        upload.check_expected(found, expected)
        return await self._repository.put_manifest(raw, self._media_type)


def _media_type(response: Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip()
