"""`--load`: an image into a Docker daemon, streamed; nothing is sent that the daemon has under that name already."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from trimaran import aio
from trimaran.errors import NotFound, UsageError
from trimaran.events import Progress, vertex
from trimaran.exporters.assemble import Assembled, assemble
from trimaran.exporters.context import ExportContext, Exported, fetch_layers
from trimaran.exporters.options import DockerOutput
from trimaran.oci.archive import write_archive
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.documents import go_time
from trimaran.reference import Reference


class DockerDaemon(Protocol):
    """A daemon that images can be loaded into: given by whoever knows where it is."""

    name: str

    async def holds_indexes(self) -> bool:
        """Whether it keeps images of several platforms (the containerd image store)."""
        ...

    async def image_id(self, name: str) -> str:
        """The id it knows `name` by; "" when it does not."""
        ...

    async def load(self, archive: int) -> None:
        """Take the archive that comes out of the descriptor, to its end."""
        ...


async def load_image(options: DockerOutput, context: ExportContext) -> Exported:
    daemon = context.docker
    if daemon is None:
        raise NotFound(
            "load the image: no Docker daemon is reachable",
            hint="start one, or leave --load out: the image is in Trimaran's own store (trimaran images, trimaran run)",
        )
    names = tuple(str(Reference.parse(name)) for name in options.names or context.names)
    whole = len(context.parts) == 1 or await daemon.holds_indexes()
    part = context if whole else _host_only(context)
    with vertex(context.sink, f"exporting to docker image format ({daemon.name})") as progress:
        image = await assemble(
            part.store,
            part.parts,
            options,
            as_index=part.as_index,
            docker_types=not part.as_index if options.oci_media_types is None else not options.oci_media_types,
            progress=progress,
        )
        if not whole:
            progress.warn(
                f"only {part.parts[0].platform} was loaded: this daemon's image store holds one platform of an image;"
                " the others stay in Trimaran's store"
            )
        await _send(daemon, image, names, part, options, progress)
    return Exported.of(image, names)


def _host_only(context: ExportContext) -> ExportContext:
    """The same export with the platform of this machine alone. UsageError when it was not built."""
    for part in context.parts:
        if part.platform.architecture == context.host.architecture:
            return context.only(part)
    raise UsageError(
        "load the image: the daemon holds one platform of an image, and this machine's was not built",
        hint="name one platform, or push the image",
    )


async def _send(
    daemon: DockerDaemon,
    image: Assembled,
    names: tuple[str, ...],
    context: ExportContext,
    options: DockerOutput,
    progress: Progress,
) -> None:
    ids = {str(image.root.digest), str(image.images[0].config.digest)}
    if names and all([await daemon.image_id(name) in ids for name in names]):
        with progress.task("already loaded"):
            return
    await fetch_layers(context, progress)
    read, write = os.pipe()
    with progress.task("sending tarball") as task:
        async with aio.TaskGroup() as group:
            group.start(_receive(daemon, read))
            created = go_time(options.created(context.now))
            group.start(_write(image.root, names, context, created, write, task.add, docker=len(image.images) == 1))


async def _receive(daemon: DockerDaemon, read: int) -> None:
    try:
        await daemon.load(read)
    finally:
        os.close(read)


async def _write(
    root: Descriptor,
    names: tuple[str, ...],
    context: ExportContext,
    created: str,
    write: int,
    count: Callable[[int], object],
    *,
    docker: bool,
) -> None:
    try:
        await write_archive(
            write, root, context.store.content, names=names, created=created, docker=docker, count=count
        )
    finally:
        os.close(write)
