"""The registry client as a whole: settings, connections and credentials behind `repository(reference)`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from trimaran import events
from trimaran.reference import Reference
from trimaran.registry.auth import Authority
from trimaran.registry.docker_config import DockerConfig
from trimaran.registry.endpoint import Endpoint
from trimaran.registry.hosts import DockerFiles, Host, Hosts
from trimaran.registry.http import Client
from trimaran.registry.repository import Repository
from trimaran.settings import Settings


class Registry:
    """All registries, for one process or build; connections and tokens are shared by its repositories.

    Use as an async context manager (or `close()` it): idle connections are closed at the end. Nothing is read,
    connected or loaded before it is needed.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        docker_config: DockerConfig | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        docker_files: DockerFiles | None = None,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self.settings = settings or Settings()
        self.client = Client(self._environment)
        self.hosts = Hosts(self.settings, docker_files)
        self.docker_config = docker_config or DockerConfig.of_all(self._environment)
        self.authority = Authority(self.client, self.hosts, self.docker_config)
        self._endpoints: dict[Host, Endpoint] = {}
        self._insecure: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    def endpoint(self, host: Host) -> Endpoint:
        """The one endpoint of a host: what was learned about it (scheme, challenge) is kept."""
        found = self._endpoints.get(host)
        if found is None:
            found = self._endpoints[host] = Endpoint(host, self.client, self.authority, self.hosts)
        return found

    def allow_insecure(self, name: str) -> None:
        """From now on the registry `name` is spoken to without verified TLS, or without any (`registry.insecure`)."""
        self._insecure.add(name)

    def repository(self, reference: Reference | str, *, sink: events.Sink = events.discard) -> Repository:
        """The repository `reference` lies in. `sink` hears of tokens being fetched."""
        if isinstance(reference, str):
            reference = Reference.parse(reference)
        hosts = self.hosts.to_pull(reference.registry)
        if reference.registry in self._insecure:
            hosts = (*hosts[:-1], self.hosts.unverified(hosts[-1]))
        endpoints = tuple(self.endpoint(host) for host in hosts)
        return Repository(reference, endpoints, sink=sink, looked_at=self.hosts.looked_at)
