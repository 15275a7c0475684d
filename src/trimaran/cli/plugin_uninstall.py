"""`plugin uninstall`: docker's buildx as it was before `plugin install`."""

from __future__ import annotations

from trimaran.cli.docker_plugin import Plugin
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Values

COMMAND = Command(
    name="uninstall",
    summary="Bring back the buildx that was there before",
    usage="plugin uninstall",
    flags=(DEBUG,),
)


def run(values: Values, invocation: Invocation) -> int:
    del values
    plugin = Plugin(invocation.environment)
    if not plugin.uninstall():
        invocation.err(f"Trimaran is not installed in {plugin.folder}\n")
    return 0
