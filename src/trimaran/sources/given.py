"""What a build's client gives beside folders: secrets, agents, certificates. Values say where, protocols bring them.

Law: a secret's bytes are asked for when a step starts and held no longer than it runs; they enter no key (but as a hash
with a key of the store's own, where the client asked for that), event or error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

ContextMode = Literal["exact", "git"]
"""What of the files of local contexts counts: mode and owner as they are, or as git would check them out."""

SECRET_LIMIT = 500 << 10
"""Bytes a secret may have (BuildKit's limit)."""


class SecretSource(msgspec.Struct, frozen=True):
    """`--secret`: the content of the file at `path`, else of the environment variable `variable`."""

    id: str
    path: str = ""
    variable: str = ""
    in_key: bool = False
    """A keyed hash of it is in the cache keys of the steps that use it; else it is in no key."""


class KeySource(msgspec.Struct, frozen=True):
    """A key that signs: the content of the file at `path`, else of the environment variable `variable`."""

    path: str = ""
    variable: str = ""

    def __str__(self) -> str:
        return self.path or f"${self.variable}"


class AgentSource(msgspec.Struct, frozen=True):
    """`--ssh`: one agent's socket, or files of private keys; none: the agent of $SSH_AUTH_SOCK."""

    id: str = "default"
    paths: tuple[str, ...] = ()


class Authorities(msgspec.Struct, frozen=True):
    """`--build-ca`: PEM certificates that RUN steps trust beside what their image trusts; b"" for none."""

    given: bytes = b""
    machine: bytes = b""
    """What the client's machine trusts: stands in for images that have nothing of the kind."""


class Secrets(Protocol):
    async def get(self, identifier: str) -> bytes | None:
        """The secret, at most SECRET_LIMIT bytes; None when the client gives none of that id."""
        ...

    def in_key(self, identifier: str) -> bool:
        """Whether another secret means running again what uses it (`cache-key=hash`)."""
        ...


class Agents(Protocol):
    async def check(self, identifier: str) -> bool:
        """Whether the client lets that agent be used; what keeps a given one from working is raised."""
        ...

    async def connect(self, identifier: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that speaks the agent protocol; Unavailable when nobody answers."""
        ...


class Nothing:
    """A client that gives neither."""

    async def get(self, identifier: str) -> bytes | None:
        del identifier
        return None

    def in_key(self, identifier: str) -> bool:
        del identifier
        return False

    async def check(self, identifier: str) -> bool:
        del identifier
        return False

    async def connect(self, identifier: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raise AssertionError(f"agent {identifier} was not offered")


class Client:
    """Who asked for the build, as far as its steps may ask back; by default it gives nothing."""

    __slots__ = ("agents", "authorities", "cache_keys", "secrets")

    def __init__(
        self,
        secrets: Secrets | None = None,
        agents: Agents | None = None,
        authorities: Authorities | None = None,
        cache_keys: Mapping[KeySource, bytes] | None = None,
    ) -> None:
        """`cache_keys`: those of shared caches that are signed, as far as they are here."""
        self.secrets = secrets or Nothing()
        self.agents = agents or Nothing()
        self.authorities = authorities or Authorities()
        self.cache_keys = cache_keys or {}
