"""`settings`: each setting that holds here, with who said so."""

from __future__ import annotations

import os

from trimaran.cli.columns import align
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values

COMMAND = Command(
    name="settings",
    summary="Show the settings in force and where each comes from",
    usage="settings [OPTIONS]",
    description="Print every setting with its value and its source: the line of the settings file, a variable of the "
    "environment, docker's own files, or the default. Sizes are bytes. Nothing is changed or asked of the network.",
    flags=(DEBUG, Flag(name="json", kind="bool", help="Print the settings as JSON")),
    examples=(Example("What holds here, and why:", "settings"),),
)


def run(values: Values, invocation: Invocation) -> int:
    import msgspec

    from trimaran import settings
    from trimaran.engine.effective import effective

    found = effective(settings.load(), os.environ)
    if values.boolean("json"):
        invocation.out(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
        return 0
    rows = [("SETTING", "VALUE", "SOURCE"), *((one.key, one.value, one.source) for one in found)]
    invocation.out(align("".join("\t".join(row) + "\n" for row in rows), padding=3))
    return 0
