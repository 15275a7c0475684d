"""Questions about a Dockerfile (`--check`, `--call`) on systems where the embedded engine cannot be.

Folders of this machine are read as they are, image configs are asked for at their registries; nothing is kept. What
would need the engine (git and web contexts, archives, layouts) is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from trimaran import aio, settings
from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.engine.request import BuildOutcome, BuildRequest
from trimaran.errors import Location, NotFound, Unsupported
from trimaran.events import Sink, WarningEvent, vertex
from trimaran.graph.frontend import Ref, ResolvedImage
from trimaran.graph.ops import SourceOp
from trimaran.graph.vertex import Edge
from trimaran.platforms import Platform
from trimaran.reference import Reference
from trimaran.registry.client import Registry

HINT = "run it on Linux: in a virtual machine or a container, or with docker buildx and a remote builder"


def needs_linux(what: str) -> Unsupported:
    return Unsupported(f"{what}: the embedded engine needs Linux", hint=HINT)


async def answer(request: BuildRequest, sink: Sink) -> BuildOutcome:
    """The answer to the request's question; Unsupported for a build."""
    from trimaran.dockerfile.convert import convert

    if not request.frontend.subrequest:
        raise needs_linux("build")
    async with Registry(settings.load()) as registry:
        made = await convert(request.frontend, _Bridge(dict(request.folders), registry, sink))
    return BuildOutcome(build_id="", answer=made.metadata)


class _Bridge:
    """`graph.frontend.Bridge` over folders and registries."""

    def __init__(self, folders: dict[str, str], registry: Registry, sink: Sink) -> None:
        self._folders = folders
        self._registry = registry
        self._sink = sink

    async def resolve_image(
        self, reference: str, platform: Platform, *, name: str, resolve_mode: str = "default"
    ) -> ResolvedImage:
        if reference.startswith("oci-layout://"):
            raise needs_linux(f"read {reference}")
        parsed = Reference.parse(reference)
        with vertex(self._sink, name):
            return await self._resolve(parsed, platform)

    async def _resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        from trimaran.oci.blobs import read_all
        from trimaran.oci.index import Index, parse_any, pick

        repository = self._registry.repository(reference)
        descriptor, raw = await repository.get_manifest(str(reference.digest or reference.tag))
        document = parse_any(raw, descriptor.media_type)
        picked = None
        if isinstance(document, Index):
            child = pick(document, platform, reference.familiar)
            picked = child.platform
            _, raw = await repository.get_manifest(str(child.digest))
            document = parse_any(raw, child.media_type)
        if isinstance(document, Index):
            raise NotFound(f"pick an image of {reference.familiar} for {platform}: the index holds an index")
        return ResolvedImage(
            reference=str(reference.with_digest(descriptor.digest)),
            digest=descriptor.digest,
            config=await read_all(repository, document.config),
            platform=picked,
            origin=reference.registry,
        )

    async def solve(self, edge: Edge) -> Ref:
        op = edge.vertex.op
        if not isinstance(op, SourceOp) or op.scheme != "local":
            raise needs_linux(edge.vertex.hints.name or "solve a part of the build")
        name = op.identifier.partition("://")[2]
        if name not in self._folders:
            raise NotFound(f'read local folder "{name}": the client gives no such folder')
        with vertex(self._sink, edge.vertex.hints.name):
            return _Folder(self._folders[name])

    def warn(
        self, short: str, *, detail: Sequence[str] = (), url: str = "", where: Location | None = None, level: int = 1
    ) -> None:
        lines = tuple(line.encode() for line in detail)
        event = WarningEvent(
            vertex=Digest.of(b"warnings"), level=level, short=short.encode(), detail=lines, url=url, where=where
        )
        self._sink(event)


class _Folder:
    """`graph.frontend.Ref` over a folder; what leads out of it is not there."""

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)

    async def read_file(self, path: str, *, limit: int = 0) -> bytes:
        return await aio.in_thread(self._read, path, limit)

    async def newest(self) -> int:
        """Folders of the client have no time of their own."""
        return 0

    async def read_dir(self, path: str, pattern: str = "") -> list[str]:
        from fnmatch import fnmatchcase

        names = await aio.in_thread(self._names, path)
        return sorted(name for name in names if not pattern or fnmatchcase(name, pattern))

    def _read(self, cancel: Cancel, path: str, limit: int) -> bytes:
        cancel.check()
        place = self._inside(path)
        if not os.path.isfile(place):
            raise NotFound(f"read /{path}: no such file")
        with open(place, "rb") as file:
            return file.read(limit or -1)

    def _names(self, cancel: Cancel, path: str) -> list[str]:
        cancel.check()
        place = self._inside(path)
        if not os.path.isdir(place):
            raise NotFound(f"read folder /{path}: no such folder")
        return os.listdir(place)

    def _inside(self, path: str) -> str:
        place = os.path.realpath(os.path.join(self._path, path.lstrip("/")))
        if place != self._path and not place.startswith(self._path.rstrip(os.sep) + os.sep):
            raise NotFound(f"read /{path}: it leads out of the folder")
        return place
