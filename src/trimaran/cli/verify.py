"""`verify IMAGE|BUILD [CONTEXT]`: build it again, and say whether the same came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimaran.cli.build_flags import FLAGS
from trimaran.cli.build_options import build_options, progress_mode
from trimaran.cli.diff import DIFFERENT, report
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import Command, Example, Flag, Values
from trimaran.cli.progress import watch
from trimaran.errors import UsageError
from trimaran.events import Sink

if TYPE_CHECKING:
    from trimaran.engine.differences import ImageDifference

_NOT_HERE = frozenset({
    "attest", "builder", "cache-from", "cache-to", "call", "check", "fail-on-miss", "iidfile", "load", "metadata-file",
    "no-cache", "no-cache-filter", "offline", "print", "provenance", "push", "sbom", "tag",
})  # fmt: skip
_OF_OURS = frozenset({"debug", "progress", "quiet"})
"""What the record of a build does not say."""

COMMAND = Command(
    name="verify",
    summary="Build an image again and compare it with what it was made into",
    usage="verify [OPTIONS] IMAGE | BUILD [PATH | URL]",
    description="Build an image again, in full and from the sources used then, and compare bit for bit: config, "
    "layers, and files one by one. BUILD is a build's id or ^N, IMAGE what `diff` takes. What to build from is known "
    "of images that were built here; for others name the context, and the options they were built with. "
    f"Exits with 0 where the same came out, with {DIFFERENT} where not.",
    flags=(
        *(flag for flag in FLAGS if flag.name not in _NOT_HERE and not flag.hidden),
        Flag(name="json", kind="bool", help="Print one JSON object"),
    ),
    arguments=(1, 2),
    completes="image",
    examples=(
        Example("The last build:", "verify ^0"),
        Example("An image of a registry, from its sources:", "verify registry.example.com/app:v1 . --reproducible"),
    ),
)


def run(values: Values, invocation: Invocation) -> int:
    from trimaran.builders.drivers import embedded

    mode = progress_mode(values, invocation.environment)
    name = values.arguments[0]
    options = None
    if len(values.arguments) > 1:
        context = values.as_of(FLAGS, values.arguments[1:])
        options = build_options(context, invocation.environment, debug=invocation.debug)
    elif given := next((flag.name for flag in FLAGS if flag.name not in _OF_OURS and values.given(flag.name)), ""):
        raise UsageError(
            f"verify: --{given} is an option of a build, and there is no context",
            hint=f"leave it out to build {name} as it was built here, or say what to build: verify {name} CONTEXT",
        )
    embedded.enter()
    from trimaran.builders.verify import verify

    async def work(sink: Sink) -> ImageDifference:
        return await verify(name, sink, options, invocation.environment)

    return report(watch(mode, invocation, work, build=False), values, invocation)
