"""Where a registry is: its mirrors and itself, with scheme, trust and the name its settings are under.

Ours first (`[registry."host"]`), docker's daemon.json and certs.d where ours is silent. Reading files is done once per
host; what is decided from them is pure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from trimaran.errors import UsageError
from trimaran.registry import errors, proxy
from trimaran.registry.docker_config import read_json_object
from trimaran.registry.http import Trust
from trimaran.registry.urls import Url
from trimaran.settings import Keypair, RegistrySettings, Settings

_ADDRESS = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
_SILENT = RegistrySettings()


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One server to ask. `bases` are tried in order until one speaks; each ends in `/v2/` or `/v2/PREFIX/`."""

    name: str
    bases: tuple[Url, ...]
    trust: Trust = Trust()
    #: The registry this is a mirror of, "" when it is the registry itself.
    mirror_of: str = ""
    auth_realms: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.name} (mirror of {self.mirror_of})" if self.mirror_of else self.name


class DockerFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What docker's own files say: daemon.json's two keys, and the certs.d folders to look into."""

    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    #: Files that were looked at, for error messages; with what was wrong in them.
    looked_at: tuple[str, ...] = ()


def read_docker_files(environment: Mapping[str, str] | None = None, system: str = "/etc/docker") -> DockerFiles:
    """The user's (rootless docker's) files before the system's; a broken daemon.json is passed over, and said."""
    environment = os.environ if environment is None else environment
    home = environment.get("HOME") or os.path.expanduser("~")
    user = os.path.join(environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "docker")
    folders = (user, system)
    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    looked_at = []
    for folder in folders:
        path = os.path.join(folder, "daemon.json")
        try:
            document = read_json_object(path)
        except UsageError as error:
            looked_at.append(f"{path} (unreadable: {error})")
            continue
        looked_at.append(path)
        mirrors = mirrors or _texts(document, "registry-mirrors")
        insecure = insecure or _texts(document, "insecure-registries")
    return DockerFiles(
        mirrors=mirrors,
        insecure=insecure,
        certificates=tuple(os.path.join(folder, "certs.d") for folder in folders),
        looked_at=tuple(looked_at),
    )


def _texts(document: dict[str, Any] | None, key: str) -> tuple[str, ...]:
    value = (document or {}).get(key)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


class Hosts:
    """The hosts of every registry, by our settings and docker's files."""

    def __init__(self, settings: Settings, docker: DockerFiles | None = None) -> None:
        self._settings = settings
        self._given = docker

    @property
    def docker(self) -> DockerFiles:
        """Docker's files, read when first asked about."""
        if self._given is None:
            self._given = read_docker_files()
        return self._given

    def own(self, registry: str) -> RegistrySettings:
        return self._settings.registry.get(registry, _SILENT)

    def origin(self, registry: str) -> Host:
        """The registry itself: the only one that is pushed to."""
        return self._host(registry, _ADDRESS.get(registry, registry), "", "")

    def to_pull(self, registry: str) -> tuple[Host, ...]:
        """Mirrors in order, then the registry itself."""
        named = self.own(registry).mirrors
        if not named and registry == "docker.io":
            named = self.docker.mirrors
        return (*(self._mirror(text, registry) for text in named), self.origin(registry))

    @staticmethod
    def unverified(host: Host) -> Host:
        """`host` by TLS without verification, else by plain HTTP."""
        base = host.bases[0]
        address = base.netloc if base.scheme == "http" or base.port != 443 else base.host
        bases = tuple(_base(scheme, address, base.target) for scheme in ("https", "http"))
        trust = Trust(insecure=True, ca=host.trust.ca, keypairs=host.trust.keypairs)
        return msgspec.structs.replace(host, bases=bases, trust=trust)

    def looked_at(self) -> str:
        """The configuration files an error message names."""
        ours = self._settings.path or "no trimaran.toml"
        return ", ".join((ours, *self.docker.looked_at))

    def _mirror(self, text: str, registry: str) -> Host:
        whole = text if "://" in text else f"//{text}"
        try:
            parts = urlsplit(whole)
            host = parts.netloc.rpartition("@")[2]
        except ValueError:
            host = ""
        if not host or parts.scheme not in ("", "http", "https"):
            raise UsageError(f"read mirror {errors.redact(whole)} of {registry}: want HOST[:PORT][/PATH]")
        return self._host(host, host, parts.path.strip("/"), registry, scheme=parts.scheme)

    def _host(self, name: str, address: str, path: str, mirror_of: str, *, scheme: str = "") -> Host:
        own = self.own(name)
        trust = self._trust(name, own)
        prefix = f"/v2/{path}/" if path else "/v2/"
        schemes, trust = self._schemes(name, address, own, trust, scheme)
        return Host(
            name=name,
            bases=tuple(_base(each, address, prefix) for each in schemes),
            trust=trust,
            mirror_of=mirror_of,
            auth_realms=own.auth_realms,
        )

    def _schemes(
        self, name: str, address: str, own: RegistrySettings, trust: Trust, scheme: str
    ) -> tuple[tuple[str, ...], Trust]:
        """Which schemes are tried, in order; reference §4.9 "Registry host logic"."""
        unverified = Trust(insecure=True, ca=trust.ca, keypairs=trust.keypairs)
        if own.insecure:
            return (("https", "http") if own.http else ("https",)), unverified
        if own.http is not None:
            return (("http",) if own.http else ("https",)), trust
        if scheme:
            return (scheme,), trust
        bare = address.rpartition(":")[0] if address.rpartition(":")[2].isdecimal() else address
        if own.insecure is None and proxy.is_loopback(bare.strip("[]")):
            return ("http", "https"), trust
        if own.insecure is None and self._docker_insecure(name, bare):
            return ("https", "http"), unverified
        return ("https",), trust

    def _docker_insecure(self, name: str, bare: str) -> bool:
        return any(name == entry or ("/" in entry and proxy.in_network(bare, entry)) for entry in self.docker.insecure)

    def _trust(self, name: str, own: RegistrySettings) -> Trust:
        ca, keypairs = list(own.ca), list(own.keypair)
        folders: tuple[str, ...] = own.tlsconfigdir
        if not (ca or keypairs or folders) and "/" not in name:
            folders = tuple(os.path.join(folder, name) for folder in self.docker.certificates)
        for folder in folders:
            found_ca, found_pairs = _certificates(folder)
            ca += found_ca
            keypairs += found_pairs
        return Trust(ca=tuple(ca), keypairs=tuple(keypairs))

    def trust_of(self, netloc: str) -> Trust:
        """What is trusted for a server that is no registry (a token server, a redirect's target)."""
        own = self.own(netloc)
        trust = self._trust(netloc, own)
        return Trust(insecure=bool(own.insecure), ca=trust.ca, keypairs=trust.keypairs)


def _base(scheme: str, address: str, prefix: str) -> Url:
    parsed = Url.parse(f"{scheme}://{address}/")
    return Url(parsed.scheme, parsed.host, parsed.port, prefix)


def _certificates(folder: str) -> tuple[list[str], list[Keypair]]:
    """A certs.d folder: `*.crt` are CAs, `X.cert` with `X.key` is a client certificate (docker's convention)."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return [], []
    ca = [os.path.join(folder, name) for name in names if name.endswith(".crt")]
    pairs = [
        Keypair(key=os.path.join(folder, name[: -len(".cert")] + ".key"), cert=os.path.join(folder, name))
        for name in names
        if name.endswith(".cert")
    ]
    return ca, pairs
