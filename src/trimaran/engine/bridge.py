"""The frontend's door to the engine: image names, files of results, warnings (`graph.frontend.Bridge`)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimaran import aio
from trimaran.digest import Digest
from trimaran.errors import Location, NotFound, UsageError
from trimaran.events import Sink, WarningEvent, vertex
from trimaran.graph.frontend import Ref, ResolvedImage
from trimaran.graph.vertex import Edge
from trimaran.platforms import Platform
from trimaran.reference import Reference
from trimaran.solver.solver import Solver
from trimaran.sources.resolver import ImageResolver, Pinned
from trimaran.steps.context import StepContext
from trimaran.store.entries import BLOCK, CHARACTER, FIFO, FILE, Origin

if TYPE_CHECKING:
    from trimaran.store.views import View


class EngineBridge:
    def __init__(self, *, solver: Solver, context: StepContext, resolver: ImageResolver, sink: Sink) -> None:
        self._solver = solver
        self._context = context
        self._resolver = resolver
        self._sink = sink

    async def resolve_image(
        self, reference: str, platform: Platform, *, name: str, resolve_mode: str = "default"
    ) -> ResolvedImage:
        if reference.startswith("oci-layout://"):
            return await self._resolve_layout(reference, platform, name)
        with vertex(self._sink, name) as progress:
            picked = await self._resolver.resolve(Reference.parse(reference), platform, resolve_mode)
            with progress.task(f"answered by {picked.pinned.origin}{_when(picked.pinned)}"):
                pass
            if picked.pinned.unanswered:
                progress.warn(
                    f"{picked.pinned.origin} gives no answer now; {picked.pinned.reference.familiar} is what it was "
                    f"{_age(picked.pinned.asked)} ago: {picked.pinned.descriptor.digest}",
                    detail=(picked.pinned.unanswered,),
                )
        return ResolvedImage(
            reference=str(picked.pinned.reference.with_digest(picked.pinned.descriptor.digest)),
            digest=picked.pinned.descriptor.digest,
            config=picked.config,
            platform=picked.platform,
            origin=picked.pinned.origin,
        )

    async def _resolve_layout(self, reference: str, platform: Platform, name: str) -> ResolvedImage:
        from trimaran.sources.layout import LayoutSource

        source = self._context.sources["oci-layout"]
        assert isinstance(source, LayoutSource)
        with vertex(self._sink, name):
            picked = await source.resolve(reference, platform)
        digest = picked.pinned.descriptor.digest
        return ResolvedImage(reference=reference, digest=digest, config=picked.config, platform=picked.platform)

    async def solve(self, edge: Edge) -> Ref:
        (result,) = await self._solver.solve([edge])
        return _SolvedRef(await self._context.view(result))

    def warn(
        self, short: str, *, detail: Sequence[str] = (), url: str = "", where: Location | None = None, level: int = 1
    ) -> None:
        self._sink(
            WarningEvent(
                vertex=Digest.of(b"warnings"),
                level=level,
                short=short.encode(),
                detail=tuple(line.encode() for line in detail),
                url=url,
                where=where,
            )
        )


def _when(pinned: Pinned) -> str:
    return f" {_age(pinned.asked)} ago" if pinned.asked else ""


def _age(asked: int) -> str:
    """As short as a duration in a row of progress is: `3h`, `40m`."""
    minutes = max(0, time.time_ns() - asked) // 60_000_000_000
    return f"{minutes // 60}h" if minutes >= 60 else f"{minutes}m"


_NO_FILES = {FIFO: "a pipe", CHARACTER: "a device", BLOCK: "a device"}


class _SolvedRef:
    """`graph.frontend.Ref` over a view."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def read_file(self, path: str, *, limit: int = 0) -> bytes:
        real = self._view.tree.resolve(path)
        entry = self._view.tree.get(real)
        if entry is not None and entry.kind in _NO_FILES:
            raise UsageError(
                f"read {path}: it is {_NO_FILES[entry.kind]}, and nothing is read from one",
                hint="make it a file, or remove it",
            )
        if entry is None or entry.kind != FILE:
            raise NotFound(f"read /{path}: no such file")
        origins = await self._view.origins([real])
        return await aio.in_thread(_read, origins[real], limit)

    async def read_dir(self, path: str, pattern: str = "") -> list[str]:
        from trimaran.steps.select import name_matches

        real = self._view.tree.resolve(path)
        if not self._view.tree.is_folder(real):
            raise NotFound(f"read folder /{path}: no such folder")
        return [name for name in self._view.tree.children(real) if not pattern or name_matches(pattern, name)]

    async def newest(self) -> int:
        return max((entry.mtime for entry in self._view.tree.walk() if entry.kind == FILE), default=0)


def _read(cancel: aio.Cancel, origin: Origin, limit: int) -> bytes:
    import os

    fd = origin.open()
    parts = []
    left = limit or (1 << 62)
    try:
        while left > 0 and (data := os.read(fd, min(left, 1 << 20))):
            cancel.check()
            parts.append(data)
            left -= len(data)
    finally:
        os.close(fd)
    return b"".join(parts)
