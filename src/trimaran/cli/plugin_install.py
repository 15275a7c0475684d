"""`plugin install`: docker's own `build` and `buildx` commands run on Trimaran."""

from __future__ import annotations

from trimaran.cli.docker_plugin import Plugin
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values

COMMAND = Command(
    name="install",
    summary="Make docker's build and buildx commands run on Trimaran",
    usage="plugin install [OPTIONS]",
    description=(
        "Put a launcher called docker-buildx into docker's plugin folder ($DOCKER_CONFIG/cli-plugins). A buildx that "
        "is there is kept, and called for what Trimaran does not have; `plugin uninstall` brings it back."
    ),
    flags=(
        DEBUG,
        Flag(name="alias", kind="bool", help="Also make `docker build` call it (for docker before 23.0)"),
    ),
    examples=(
        Example("Let docker build with Trimaran", "plugin install"),
        Example("The same for docker 20.10", "plugin install --alias"),
    ),
)


def run(values: Values, invocation: Invocation) -> int:
    plugin = Plugin(invocation.environment)
    plugin.install(alias=values.boolean("alias"))
    displaced = plugin.displaced()
    invocation.out(f"{plugin.target}\n")
    if displaced:
        invocation.err(f"What Trimaran does not have goes to {displaced}\n")
    return 0
