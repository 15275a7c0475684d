"""The seam between a frontend (the Dockerfile language, others later) and the engine that serves it.

`Bridge` has the calls of BuildKit's LLBBridge, typed (reference §8.4). A frontend turns a request into one `Built` per
platform; it may ask the bridge for image configs and files, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Location
from trimaran.graph.vertex import Edge
from trimaran.platforms import Platform


class ResolvedImage(msgspec.Struct, frozen=True, kw_only=True):
    """What an image name turned out to be: pinned once per build for all platforms (T63)."""

    reference: str
    """Canonical name with tag and digest: what the source op gets."""
    digest: Digest
    """Of the index or manifest the name points to."""
    config: bytes
    """Raw image config of the asked platform."""
    platform: Platform | None = None
    """Of the manifest that was picked."""
    origin: str = ""
    """Who answered: "store" or the registry's host."""


class Ref(Protocol):
    """A lazily solved result: asking for a file runs what is needed for it."""

    async def read_file(self, path: str, *, limit: int = 0) -> bytes:
        """NotFound when there is none; `limit` bytes at most (0: all)."""
        ...

    async def read_dir(self, path: str, pattern: str = "") -> list[str]: ...

    async def newest(self) -> int:
        """The latest time of a file: nanoseconds since the epoch, 0 where there is no file."""
        ...


class Bridge(Protocol):
    """The frontend's only door to the engine."""

    async def resolve_image(
        self, reference: str, platform: Platform, *, name: str, resolve_mode: str = "default"
    ) -> ResolvedImage:
        """`name` is the vertex shown (`[internal] load metadata for …`); `resolve_mode` default | pull | local."""
        ...

    async def solve(self, edge: Edge) -> Ref: ...

    def warn(
        self, short: str, *, detail: Sequence[str] = (), url: str = "", where: Location | None = None, level: int = 1
    ) -> None: ...


class NamedContext(msgspec.Struct, frozen=True):
    """`--build-context name=value`: a local folder is served as `local://<local name>` by the engine's LocalFiles."""

    name: str
    value: str


class ContainerDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a container of the image starts with, as far as a graph says so; the rest is the base image's."""

    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    labels: tuple[tuple[str, str], ...] = ()
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""


class GraphInput(msgspec.Struct, frozen=True, kw_only=True):
    """A graph to be built for one platform, in LLB's wire form; `base_config` is a raw image config to begin with."""

    platform: Platform
    definition: bytes
    defaults: ContainerDefaults = ContainerDefaults()
    base_config: bytes = b""


class FrontendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a build asks of the frontend: BuildKit's frontend attrs (reference §1.4), typed."""

    filename: str = "Dockerfile"
    dockerfile_local: str = "dockerfile"
    context_local: str = "context"
    context_url: str = ""
    """A git repository or an HTTP(S) file instead of the folder `context_local`."""
    context_is_archive: bool = False
    """The folder `context_local` holds one file `context`, and what is in that is the context."""
    context_subdir: str = ""
    """The folder of a context that is no local one to build in."""
    dockerfile_is_local: bool = False
    """The Dockerfile is the client's, though the context is not."""
    platforms: tuple[Platform, ...] = ()
    """Asked for; empty: the build platform alone, named without a platform prefix."""
    multi_platform: bool = False
    build_platform: Platform
    target: str = ""
    build_args: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    named_contexts: tuple[NamedContext, ...] = ()
    no_cache: bool = False
    no_cache_stages: tuple[str, ...] = ()
    resolve_mode: str = "default"
    network: str = ""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    cgroup_parent: str = ""
    hostname: str = ""
    source_date_epoch: int | None = None
    reproducible: bool = False
    """What is copied gets the time of SOURCE_DATE_EPOCH (1970 where there is none) instead of the source's."""
    graphs: tuple[GraphInput, ...] = ()
    """For the frontend `graph`: what to build, one for each platform."""
    subrequest: str = ""
    """A question about the file instead of a build, such as `frontend.lint`: the answer is in the result's metadata."""

    @property
    def as_index(self) -> bool:
        """Steps are named with their platform, and the image is an index even when it is of one platform."""
        wanted = dict(self.build_args).get("BUILDKIT_MULTI_PLATFORM", "").lower() in ("1", "t", "true")
        return wanted or self.multi_platform or len(self.platforms) > 1


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """One platform's result: its root (None: scratch) and its image config as raw JSON, without diff ids."""

    platform: Platform
    edge: Edge | None
    config: bytes
    base_config: bytes = b""


class FrontendResult(msgspec.Struct, frozen=True, kw_only=True):
    built: tuple[Built, ...]
    epoch: int | None = None
    """SOURCE_DATE_EPOCH in seconds, where the build has one: exporters let nothing new be later."""
    metadata: tuple[tuple[str, bytes], ...] = ()


class Frontend(Protocol):
    async def __call__(self, request: FrontendRequest, bridge: Bridge) -> FrontendResult: ...


Frontends = Mapping[str, Frontend]
