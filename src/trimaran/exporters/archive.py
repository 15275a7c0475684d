"""`type=oci` and `type=docker`: an image as one archive, or as an OCI layout folder."""

from __future__ import annotations

from trimaran.errors import Unsupported, UsageError
from trimaran.events import Progress, vertex
from trimaran.exporters.assemble import Assembled, assemble
from trimaran.exporters.context import ExportContext, Exported, fetch_layers
from trimaran.exporters.options import DockerOutput, OciOutput
from trimaran.exporters.output import output_file
from trimaran.oci.archive import write_archive
from trimaran.oci.copy import copy_image
from trimaran.oci.documents import go_time
from trimaran.oci.layout import Layout
from trimaran.reference import Reference


async def export_archive(options: OciOutput | DockerOutput, context: ExportContext) -> Exported:
    docker = isinstance(options, DockerOutput)
    kind = "docker" if docker else "oci"
    if docker and len(context.parts) > 1:
        raise Unsupported(
            "export to docker: docker exporter does not currently support exporting manifest lists",
            hint="name one platform, or use type=oci",
        )
    names = tuple(str(Reference.parse(name)) for name in options.names or context.names)
    with vertex(context.sink, f"exporting to {kind} image format") as progress:
        image = await assemble(
            context.store,
            context.parts,
            options,
            as_index=context.as_index and not docker,
            docker_types=docker if options.oci_media_types is None else not options.oci_media_types,
            progress=progress,
        )
        await fetch_layers(context, progress)
        if options.tar:
            await _write_tar(options, image, names, context, progress, docker=docker)
        else:
            await _write_layout(options, image, names, context, progress)
    return Exported.of(image, names)


async def _write_tar(
    options: OciOutput | DockerOutput,
    image: Assembled,
    names: tuple[str, ...],
    context: ExportContext,
    progress: Progress,
    *,
    docker: bool,
) -> None:
    with progress.task("sending tarball") as task, output_file(options.dest) as fd:
        await write_archive(
            fd,
            image.root,
            context.store.content,
            names=names,
            created=go_time(options.created(context.now)),
            docker=docker,
            count=task.add,
        )


async def _write_layout(
    options: OciOutput | DockerOutput,
    image: Assembled,
    names: tuple[str, ...],
    context: ExportContext,
    progress: Progress,
) -> None:
    if options.dest in ("", "-"):
        raise UsageError("export an image layout: dest must be a folder with tar=false", hint="add dest=FOLDER")
    with progress.task("copying layout"):
        layout = await Layout.create(options.dest)
        await copy_image(image.root, context.store.content, layout)
        await layout.name(image.root, names, created=go_time(options.created(context.now)))
