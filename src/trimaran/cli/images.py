"""`images`: what Trimaran's own store holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trimaran.cli.columns import align
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values
from trimaran.cli.template import Record, Template
from trimaran.cli.units import human_duration
from trimaran.sizes import decimal_size

if TYPE_CHECKING:
    from trimaran.engine.images import ListedImage

COMMAND = Command(
    name="images",
    summary="List the images in Trimaran's store",
    usage="images [OPTIONS]",
    flags=(
        DEBUG,
        Flag(name="format", help='Format the output ("table", "json", or a Go template)', default="table"),
        Flag(name="no-trunc", kind="bool", help="Don't truncate output"),
        Flag(name="quiet", shorthand="q", kind="bool", help="Only show image IDs"),
    ),
    examples=(Example("Names only:", "images --format '{{.Repository}}:{{.Tag}}'"),),
)
_SHORT = 12
_HEAD = ("REPOSITORY", "TAG", "IMAGE ID", "PLATFORMS", "CREATED", "SIZE")


def run(values: Values, invocation: Invocation) -> int:
    import asyncio

    rows = [row(image, time.time(), whole=values.boolean("no-trunc")) for image in asyncio.run(stored())]
    form = values.text("format")
    if values.boolean("quiet"):
        invocation.out("".join(f"{each['ID']}\n" for each in rows))
    elif form == "table":
        invocation.out(table(rows))
    else:
        template = Template("{{json .}}" if form == "json" else form)
        invocation.out("".join(template.render(Record("Image", each, dict(each))) + "\n" for each in rows))
    return 0


async def stored() -> list[ListedImage]:
    """All of them; none where there is no store yet."""
    from trimaran import settings
    from trimaran.engine.engine import state_folder
    from trimaran.engine.images import listed
    from trimaran.errors import NotFound
    from trimaran.store.store import open_store

    try:
        with open_store(state_folder(settings.load()), readonly=True) as store:
            return await listed(store)
    except NotFound:
        return []


def row(image: ListedImage, now: float, *, whole: bool) -> dict[str, str]:
    """The words of one line, by the names docker's templates have for them."""
    name = image.name
    return {
        "Repository": name.familiar_name if name else "<none>",
        "Tag": (name.tag if name else "") or "<none>",
        "ID": str(image.digest) if whole else image.digest.hex[:_SHORT],
        "Digest": str(image.digest),
        "Platforms": ", ".join(str(platform) for platform in image.platforms),
        "CreatedSince": human_duration(now - image.created / 1e9) + " ago",
        "Size": decimal_size(image.size, 3),
    }


def table(rows: list[dict[str, str]]) -> str:
    keys = ("Repository", "Tag", "ID", "Platforms", "CreatedSince", "Size")
    lines = ["\t".join(_HEAD), *("\t".join(each[key] for key in keys) for each in rows)]
    return align("".join(f"{line}\n" for line in lines), padding=3)
