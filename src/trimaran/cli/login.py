"""`login`: try credentials at a registry, then keep them where docker keeps them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values
from trimaran.errors import UsageError

if TYPE_CHECKING:
    from trimaran.registry.docker_config import Credential

COMMAND = Command(
    name="login",
    summary="Log in to a registry",
    usage="login [OPTIONS] [SERVER]",
    description="Try a name and a password at a registry and keep them in Docker's config.json or its credential "
    "helper. Without SERVER that is Docker Hub.",
    flags=(
        DEBUG,
        Flag(name="username", shorthand="u", help="Username"),
        Flag(name="password", shorthand="p", help="Password or token (others on this machine can see it)"),
        Flag(name="password-stdin", kind="bool", help="Take the password or token from stdin"),
    ),
    arguments=(0, 1),
    examples=(Example("From a script:", "login -u me --password-stdin registry.example < token"),),
)
DOCKER_HUB = "docker.io"
_LONGEST_SECRET = 1 << 20


def run(values: Values, invocation: Invocation) -> int:
    import asyncio

    from trimaran.registry.docker_config import Credential

    host = server(values.arguments[0] if values.arguments else "")
    username, password = _asked(values, invocation)
    stored = asyncio.run(_login(host, Credential(username, password, source="the command line")))
    if stored:
        invocation.err(f"WARNING! The credentials are stored unencrypted in {stored}.\n")
    invocation.out("Login Succeeded\n")
    return 0


def server(text: str) -> str:
    """The host of what was typed: no scheme, no path; Docker Hub by any of its names."""
    host = text.partition("://")[2] or text
    host = host.partition("/")[0]
    if host.startswith("-") or any(char.isspace() for char in host):
        raise UsageError(f'read server "{text}": not a host name')
    return DOCKER_HUB if host in {"", "index.docker.io", "registry-1.docker.io"} else host


def _asked(values: Values, invocation: Invocation) -> tuple[str, str]:
    username, password = values.text("username"), values.text("password")
    if values.boolean("password-stdin"):
        if password:
            raise UsageError("--password and --password-stdin are mutually exclusive")
        if not username:
            raise UsageError("must provide --username with --password-stdin")
        password = sys.stdin.read(_LONGEST_SECRET).rstrip("\r\n")
    elif password:
        invocation.err("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    if (not username or not password) and not sys.stdin.isatty():
        raise UsageError(
            "cannot perform an interactive login from a non TTY device", hint="use -u NAME --password-stdin"
        )
    if not username:
        sys.stderr.write("Username: ")
        sys.stderr.flush()
        username = sys.stdin.readline().strip()
    if not password:
        import getpass

        password = getpass.getpass("Password: ")
    if not username or not password:
        raise UsageError("log in: username and password are required")
    return username, password


async def _login(host: str, credential: Credential) -> str:
    """Where the credentials now lie in plain text, "" when a helper has them. Denied when the registry says no."""
    import base64

    import msgspec

    from trimaran import settings
    from trimaran.registry.client import Registry
    from trimaran.registry.docker_config import DockerConfig, config_key

    class Offered(DockerConfig):
        """What was typed is what is tried, whatever is stored."""

        async def credential(self, host: str, repository: str = "") -> Credential | None:
            del host, repository
            return credential

    kept = DockerConfig.default()
    async with Registry(settings.load(), Offered(kept.path)) as registry:
        endpoint = registry.endpoint(registry.hosts.to_pull(host)[-1])
        async with endpoint.request("GET", await endpoint.url(""), scopes=()) as response:
            await response.read_all(1 << 20)
    helper = kept.helper_for(host)
    if helper:
        entry = {"ServerURL": config_key(host), "Username": credential.username, "Secret": credential.password}
        await kept.run_helper(helper, "store", msgspec.json.encode(entry))
        return ""
    auth = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
    kept.write(kept.with_entry(host, {"auth": auth}))
    return kept.path
