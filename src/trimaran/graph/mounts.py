"""What a command of a `State` sees besides its root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from trimaran.errors import UsageError
from trimaran.graph import ops

if TYPE_CHECKING:
    from trimaran.graph.state import State

Sharing = Literal["shared", "private", "locked"]
_SHARING: dict[str, ops.CacheSharing] = {kind.name.lower(): kind for kind in ops.CacheSharing}


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """What a command sees at `dest`: a state (read-only), a cache, a tmpfs, a secret or an agent."""

    dest: str
    type: ops.MountType = ops.MountType.BIND
    source: State | None = None
    selector: str = ""
    size: int = 0
    cache: ops.CacheOptions | None = None
    secret: ops.SecretOptions | None = None
    ssh: ops.SshOptions | None = None


def bind(source: State, dest: str, *, path: str = "") -> Mount:
    """`path` in `source`, read-only."""
    return Mount(dest=dest, source=source, selector=path)


def cache(dest: str, *, identity: str = "", sharing: Sharing = "shared", initial: State | None = None) -> Mount:
    """A folder kept between builds under `identity` (default: its path), begun with `initial`."""
    if sharing not in _SHARING:
        raise UsageError(f"mount cache {dest}: unknown sharing {sharing!r}", hint="shared, private or locked")
    options = ops.CacheOptions(identity or dest, _SHARING[sharing])
    return Mount(dest=dest, type=ops.MountType.CACHE, cache=options, source=initial)


def tmpfs(dest: str, *, size: int = 0) -> Mount:
    """Memory that is gone after the command; `size` in bytes, 0: no limit of its own."""
    return Mount(dest=dest, type=ops.MountType.TMPFS, size=size)


def secret(identity: str, *, dest: str = "", mode: int = 0o400, optional: bool = False) -> Mount:
    """A secret of the build as a file, at /run/secrets/`identity` unless said."""
    options = ops.SecretOptions(identity, mode=mode, optional=optional)
    return Mount(dest=dest or f"/run/secrets/{identity}", type=ops.MountType.SECRET, secret=options)


def ssh(identity: str = "default", *, dest: str = "/run/buildkit/ssh_agent.0", optional: bool = False) -> Mount:
    """The socket of an ssh agent of the build; SSH_AUTH_SOCK has to be set to `dest` by the caller."""
    return Mount(dest=dest, type=ops.MountType.SSH, ssh=ops.SshOptions(identity, optional=optional))
