"""`inspect`: the embedded builder in full (reference §1.7)."""

from __future__ import annotations

from trimaran.cli import commands
from trimaran.cli.columns import align
from trimaran.cli.embedded_builder import DRIVER, NAME, NODE, describe
from trimaran.cli.invocation import Invocation
from trimaran.cli.main import hand_over
from trimaran.cli.options import BUILDER, DEBUG, Command, Flag, Values
from trimaran.errors import NotFound

COMMAND = Command(
    name="inspect",
    summary="Inspect current builder instance",
    usage="inspect [NAME]",
    flags=(
        BUILDER,
        DEBUG,
        Flag(name="bootstrap", kind="bool", help="Ensure builder has booted before inspecting (it always has)"),
        Flag(name="timeout", kind="duration", hidden=True, ignored=True),
    ),
    arguments=(0, 1),
    completes="builder",
)


def run(values: Values, invocation: Invocation) -> int:
    name = values.arguments[0] if values.arguments else ""
    if name not in commands.EMBEDDED_BUILDERS:
        hand_over(f'builder "{name}"', invocation)
        raise NotFound(f'find builder "{name}": no such builder', hint="the embedded builder is called trimaran")
    builder = describe()
    activity = builder.last_activity.replace("T", " ").replace("Z", " +0000 UTC")
    head = f"Name:\t{NAME}\nDriver:\t{DRIVER}\n" + (f"Last Activity:\t{activity}\n" if activity else "")
    node = (
        f"Name:\t{NODE}\nEndpoint:\t{builder.endpoint}\nStatus:\trunning\n"
        f"BuildKit version:\t{builder.version}\nPlatforms:\t{', '.join(builder.platforms)}\n"
    )
    labels = "".join(f" {key}:\t{value}\n" for key, value in builder.labels)
    text = f"{align(head)}\nNodes:\n{align(node)}Labels:\n{align(labels)}"
    for number, policy in enumerate(builder.policies):
        text += f"GC Policy rule#{number}:\n" + align("".join(f" {key}:\t{value}\n" for key, value in policy))
    invocation.out(text)
    return 0
