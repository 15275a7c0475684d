"""What every exporter gets: the results, where images come from and go to, and whom to tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from trimaran import aio
from trimaran.digest import Digest
from trimaran.events import Progress, Sink
from trimaran.exporters.assemble import Assembled, Exportable
from trimaran.oci.descriptor import Descriptor
from trimaran.platforms import Platform
from trimaran.registry.client import Registry
from trimaran.store.store import Store

if TYPE_CHECKING:
    from trimaran.exporters.load import DockerDaemon


class ExportContext:
    """One export of one build. `as_index`: several platforms were asked for, so the result is an index."""

    __slots__ = ("as_index", "docker", "host", "names", "now", "parts", "registry", "sink", "store")

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        parts: Sequence[Exportable],
        names: tuple[str, ...],
        as_index: bool,
        now: int,
        sink: Sink,
        host: Platform,
        docker: DockerDaemon | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        self.parts = parts
        self.names = names
        self.as_index = as_index
        self.now = now
        self.sink = sink
        self.host = host
        self.docker = docker

    def only(self, part: Exportable) -> ExportContext:
        """The same export of one platform's result alone, as a plain image."""
        return ExportContext(
            store=self.store,
            registry=self.registry,
            parts=[part],
            names=self.names,
            as_index=False,
            now=self.now,
            sink=self.sink,
            host=self.host,
            docker=self.docker,
        )


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export reports (reference §1.5): nothing for files, the image for images."""

    root: Descriptor | None = None
    config: Digest | None = None
    """Of a single-platform image."""
    manifests: tuple[tuple[Platform, Digest], ...] = ()
    """Per platform, the digest of its manifest."""
    names: tuple[str, ...] = ()
    stored: bool = False

    @classmethod
    def of(cls, image: Assembled, names: tuple[str, ...], *, stored: bool = False) -> Exported:
        return cls(
            root=image.root,
            config=image.images[0].config.digest if len(image.images) == 1 else None,
            manifests=tuple((one.platform, one.manifest.digest) for one in image.images),
            names=names,
            stored=stored,
        )


async def fetch_layers(context: ExportContext, progress: Progress) -> None:
    """Bring the layers that are still elsewhere into the store: what stays here must not depend on a registry."""
    layers = context.store.layers
    remote = dict.fromkeys(
        layer for part in context.parts for layer in part.rootfs.layers if layers.source(layer) is not None
    )
    await aio.all_of(layers.fetch(layer, progress=progress) for layer in remote)
