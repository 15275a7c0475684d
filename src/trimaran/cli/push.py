"""`push NAME`: an image of the store to the registry its name says, as it was built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimaran.cli.build_flags import PROGRESS_MODES
from trimaran.cli.build_options import progress_mode
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values
from trimaran.cli.progress import watch
from trimaran.events import Sink

if TYPE_CHECKING:
    from trimaran.oci.descriptor import Descriptor

COMMAND = Command(
    name="push",
    summary="Push an image of the store to its registry",
    usage="push [OPTIONS] NAME",
    flags=(
        DEBUG,
        Flag(name="insecure", kind="bool", help="Allow plain HTTP and unverified TLS"),
        Flag(
            name="progress",
            help="Set type of progress output",
            default="auto",
            environment="BUILDKIT_PROGRESS",
            choices=PROGRESS_MODES,
        ),
        Flag(name="quiet", shorthand="q", kind="bool", help="Only print the digest"),
    ),
    arguments=(1, 1),
    completes="image",
    examples=(Example("Build now, push later:", "build -t REF . && trimaran push REF"),),
)


def run(values: Values, invocation: Invocation) -> int:
    from trimaran import settings
    from trimaran.builders.drivers import embedded
    from trimaran.engine import images
    from trimaran.engine.engine import open_engine, state_folder

    entered = embedded.enter()
    configuration = settings.load()

    async def work(sink: Sink) -> Descriptor:
        with open_engine(state_folder(configuration), configuration, entered) as engine:
            async with engine.registry:
                return await images.push(values.arguments[0], engine, sink, insecure=values.boolean("insecure"))

    pushed = watch(progress_mode(values, invocation.environment), invocation, work, build=False)
    invocation.out(f"{pushed.digest}\n")
    return 0
