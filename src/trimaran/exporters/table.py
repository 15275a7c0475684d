"""The table of outputs and the exporters that make them."""

from __future__ import annotations

from trimaran.exporters.context import ExportContext, Exported
from trimaran.exporters.options import (
    CacheOnlyOutput,
    DockerOutput,
    ImageOutput,
    LocalOutput,
    OciOutput,
    Output,
    TarOutput,
)


async def export(output: Output, context: ExportContext) -> Exported:
    """Make one output; modules of outputs that nobody asked for are not loaded."""
    if isinstance(output, ImageOutput):
        from trimaran.exporters.image import export_image

        return await export_image(output, context)
    if isinstance(output, DockerOutput) and not output.dest:
        from trimaran.exporters.load import load_image

        return await load_image(output, context)
    if isinstance(output, OciOutput | DockerOutput):
        from trimaran.exporters.archive import export_archive

        return await export_archive(output, context)
    if isinstance(output, LocalOutput):
        from trimaran.exporters.files import export_local

        return await export_local(output, context)
    if isinstance(output, TarOutput):
        from trimaran.exporters.files import export_tar

        return await export_tar(output, context)
    assert isinstance(output, CacheOnlyOutput)
    return Exported()
