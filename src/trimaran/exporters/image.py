"""`type=image` and `type=registry`: an image in the store under its names, and pushed where that is asked."""

from __future__ import annotations

from trimaran.events import Progress, vertex
from trimaran.exporters.assemble import Assembled, assemble
from trimaran.exporters.context import ExportContext, Exported, fetch_layers
from trimaran.exporters.options import ImageOutput
from trimaran.exporters.push import push_image
from trimaran.reference import Reference


async def export_image(options: ImageOutput, context: ExportContext) -> Exported:
    references = [Reference.parse(name) for name in options.names or context.names]
    with vertex(context.sink, "exporting to image") as progress:
        image = await assemble(
            context.store,
            context.parts,
            options,
            as_index=context.as_index,
            docker_types=options.oci_media_types is False,
            progress=progress,
        )
        if options.store:
            await _keep(context, image, references, fetch=not options.push, progress=progress)
        if options.push:
            await push_image(
                context.store,
                context.registry,
                image,
                references,
                by_digest=options.push_by_digest,
                insecure=options.insecure,
                progress=progress,
            )
    return Exported.of(image, tuple(str(reference) for reference in references), stored=options.store)


async def _keep(
    context: ExportContext, image: Assembled, references: list[Reference], *, fetch: bool, progress: Progress
) -> None:
    """Name the image in the store. One that was pushed may leave its base's layers where they came from.

    Without a name it is kept under its digest, as docker keeps images without a tag.
    """
    if fetch:
        await fetch_layers(context, progress)
    for reference in references:
        with progress.task(f"naming to {reference}"):
            await context.store.images.put(str(reference), image.root)
    if not references:
        await context.store.images.put(str(image.root.digest), image.root)
