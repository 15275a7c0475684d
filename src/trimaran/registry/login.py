"""`login` and `logout`: credentials tried at the registry, then kept where docker keeps them.

With a credential helper for the host they go to it, else into config.json (0600, replaced at once). A registry that
gives an identity token for the password has only that kept.
"""

from __future__ import annotations

import base64

import msgspec

from trimaran.errors import Denied, UsageError
from trimaran.registry.auth import Authority
from trimaran.registry.client import Registry
from trimaran.registry.docker_config import TOKEN_USER, Credential, DockerConfig, config_key
from trimaran.registry.endpoint import Endpoint


class LoggedIn(msgspec.Struct, frozen=True):
    """Where the credentials are kept now; `plain` when anybody who reads that file has them."""

    host: str
    place: str
    plain: bool


async def login(registry: Registry, host: str, username: str, password: str) -> LoggedIn:
    """Try user and password at `host` and keep them; Denied when the registry refuses them. Nothing is kept then."""
    host = registry_host(host)
    if not username or not password:
        raise UsageError(
            f"log in to {host}: user and password are needed", hint="trimaran login -u USER --password-stdin"
        )
    await check(registry, host, Credential(username, password, source="the command line"))
    return await keep(registry.docker_config, host, Credential(username, password))


def registry_host(text: str) -> str:
    """The registry a person means: without scheme and path, "" and docker's own names are docker.io."""
    host = text.partition("://")[2] if "://" in text else text
    host = host.partition("/")[0].lower()
    return "docker.io" if host in ("", "index.docker.io", "registry-1.docker.io") else host


async def check(registry: Registry, host: str, credential: Credential) -> None:
    """Ask `GET /v2/` with `credential`; Denied when it is refused."""
    authority = Authority(registry.client, registry.hosts, _Given(credential))
    endpoint = Endpoint(registry.hosts.origin(host), registry.client, authority, registry.hosts)
    url = await endpoint.url("")
    try:
        async with endpoint.request("GET", url, scopes=(), accept=(200,)) as response:
            await response.read_all(1 << 20)
    except Denied as error:
        error.hint = "check user and password; a host with two-factor login wants an access token as password"
        raise


class _Given(DockerConfig):
    """A configuration of one credential for every host."""

    def __init__(self, credential: Credential) -> None:
        super().__init__("", {})
        self._credential = credential

    async def credential(self, host: str, repository: str = "") -> Credential | None:
        return self._credential


async def keep(config: DockerConfig, host: str, credential: Credential) -> LoggedIn:
    """Store a credential in the host's helper, else in the file."""
    helper = config.helper_for(host)
    if helper:
        secret = credential.identity_token or credential.password
        username = TOKEN_USER if credential.identity_token else credential.username
        message = {"ServerURL": config_key(host), "Username": username, "Secret": secret}
        await config.run_helper(helper, "store", msgspec.json.encode(message))
        config.write(config.with_entry(host, {}))
        return LoggedIn(host, f"docker-credential-{helper}", plain=False)
    encoded = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
    entry = {"auth": encoded}
    if credential.identity_token:
        entry = {"auth": base64.b64encode(f"{credential.username}:".encode()).decode()}
        entry["identitytoken"] = credential.identity_token
    config.write(config.with_entry(host, entry))
    return LoggedIn(host, config.path, plain=True)


async def logout(config: DockerConfig, host: str) -> bool:
    """Forget the credentials of `host`; False when there were none in the file and no helper was asked."""
    host = registry_host(host)
    helper = config.helper_for(host)
    if helper:
        await config.run_helper(helper, "erase", config_key(host).encode())
    document = config.with_entry(host, None)
    had = document["auths"] != (config.document.get("auths") or {})
    if had:
        config.write(document)
    return had or bool(helper)
