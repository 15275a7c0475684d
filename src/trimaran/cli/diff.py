"""`diff A B`: what differs between two images, wherever each is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimaran.cli.build_options import platforms
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values

if TYPE_CHECKING:
    from trimaran.engine.differences import ImageDifference

DIFFERENT = 3
"""The exit code of `diff` and `verify` where there is a difference: 1 is an error, as everywhere."""

COMMAND = Command(
    name="diff",
    summary="Show what differs between two images",
    usage="diff [OPTIONS] A B",
    description="Show what differs between two images: config, history, layers, and files by content, mode, owner, "
    "time and xattrs. Each is a name or digest of the store, a name of a registry, an OCI layout (a folder) or an "
    f"archive (a file). Nothing is unpacked or kept. Exits with 0 for equal images, {DIFFERENT} for others.",
    flags=(
        DEBUG,
        Flag(name="json", kind="bool", help="Print one JSON object"),
        Flag(name="platform", kind="stringArray", help="Compare these platforms alone"),
        Flag(name="quiet", shorthand="q", kind="bool", help="Print nothing: the exit code says it"),
    ),
    arguments=(2, 2),
    completes="image",
    examples=(
        Example("The image just built, and the one in production:", "diff app registry.example.com/app:stable"),
        Example("Two archives, one platform:", "diff --platform linux/arm64 old.tar new.tar"),
    ),
)


def run(values: Values, invocation: Invocation) -> int:
    import asyncio

    from trimaran import settings
    from trimaran.builders.drivers import embedded
    from trimaran.engine.compare import compare
    from trimaran.engine.engine import open_engine, state_folder
    from trimaran.engine.places import open_image
    from trimaran.platforms import Platform

    wanted = [Platform.parse(text) for text in platforms(values.texts("platform"))]
    entered = embedded.enter()
    configuration = settings.load()

    async def work() -> ImageDifference:
        with open_engine(state_folder(configuration), configuration, entered) as engine:
            async with (
                engine.registry,
                open_image(values.arguments[0], engine) as before,
                open_image(values.arguments[1], engine) as after,
            ):
                return await compare(before, after, wanted)

    return report(asyncio.run(work()), values, invocation)


def report(difference: ImageDifference, values: Values, invocation: Invocation) -> int:
    """Print it as asked; the exit code."""
    if values.boolean("json"):
        import msgspec

        invocation.out(msgspec.json.format(msgspec.json.encode(difference), indent=2).decode() + "\n")
    elif not values.boolean("quiet"):
        from trimaran.cli.differences import lines

        invocation.out("".join(f"{line}\n" for line in lines(difference)))
    return 0 if difference.same else DIFFERENT
