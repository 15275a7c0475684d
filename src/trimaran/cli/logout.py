"""`logout`: forget the credentials of a registry."""

from __future__ import annotations

from trimaran.cli.invocation import Invocation
from trimaran.cli.login import server
from trimaran.cli.options import DEBUG, Command, Values

COMMAND = Command(
    name="logout",
    summary="Log out of a registry",
    usage="logout [SERVER]",
    description="Forget the credentials of a registry; without SERVER, of Docker Hub.",
    flags=(DEBUG,),
    arguments=(0, 1),
)


def run(values: Values, invocation: Invocation) -> int:
    import asyncio

    host = server(values.arguments[0] if values.arguments else "")
    if asyncio.run(_logout(host)):
        invocation.out(f"Removing login credentials for {host}\n")
    else:
        invocation.out(f"Not logged in to {host}\n")
    return 0


async def _logout(host: str) -> bool:
    """Whether there was something to forget."""
    from trimaran.registry.docker_config import DockerConfig, config_key

    config = DockerConfig.default()
    found = await config.credential(host) is not None
    helper = config.helper_for(host)
    if helper and found:
        await config.run_helper(helper, "erase", config_key(host).encode())
    document = config.with_entry(host, None)
    if document.get("auths") != config.document.get("auths", {}):
        config.write(document)
    return found
