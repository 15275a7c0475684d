"""What a build asks of the engine, and what it gets back: values, so that a driver may send them elsewhere."""

from __future__ import annotations

import msgspec

from trimaran.caches.options import CacheExport, CacheImport
from trimaran.digest import Digest
from trimaran.exporters.options import Output
from trimaran.graph.frontend import FrontendRequest
from trimaran.linux.limits import Limits
from trimaran.oci.descriptor import Descriptor
from trimaran.platforms import Platform
from trimaran.sources.given import AgentSource, ContextMode, SecretSource
from trimaran.sources.lock import LockEntry, LockRequest


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What a build may take; 0 and None: as the settings say."""

    cache_limit: int = 0
    """Bytes of the whole store on disk."""
    jobs: int = 0
    """RUN steps at the same time."""
    limits: Limits | None = None
    """Of each RUN step."""
    build_limits: Limits | None = None
    """Of all RUN steps of the build together."""


class GivenFile(msgspec.Struct, frozen=True):
    """The one file of a local folder (or none: `name` is "") that is there for this build alone."""

    folder: str
    name: str
    content: bytes


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One build. `folders` are the client's local folders by the name the frontend asks for them.

    `secrets` and `agents` say what the client gives and where it has that; `entitlements` are what `--allow` granted.
    """

    frontend: FrontendRequest
    frontend_name: str = "dockerfile.v0"
    folders: tuple[tuple[str, str], ...] = ()
    given: tuple[GivenFile, ...] = ()
    """What is in those of `folders` that end with the build: a Dockerfile of standard input, of a URL, of a program."""
    noted: tuple[LockEntry, ...] = ()
    """What names that may change meant before the engine was asked."""
    names: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    secrets: tuple[SecretSource, ...] = ()
    agents: tuple[AgentSource, ...] = ()
    build_ca: tuple[str, ...] = ()
    """PEM files of the client: RUN steps trust them, and nothing else does."""
    entitlements: tuple[str, ...] = ()
    lock: LockRequest = LockRequest()
    offline: bool = False
    """Sources are taken from this machine alone; outputs go where they are named."""
    context_mode: ContextMode = "exact"
    fresh: bool = False
    """Layers are what they are now, also where an earlier one differs in times alone: for comparing."""
    fail_on_miss: tuple[str, ...] = ()
    """Stages in which no step may run: all has to be cached; `*` is any."""
    cache_from: tuple[CacheImport, ...] = ()
    cache_to: tuple[CacheExport, ...] = ()

    @property
    def scope(self) -> str:
        """Names the build file, so that its steps can be found again after an edit.

        A file from elsewhere (standard input, another folder) is named by its context; a graph has none.
        """
        if self.frontend.graphs:
            return ""
        folders = dict(self.folders)
        context = self.frontend.context_url or folders.get("context", "")
        folder = folders.get("dockerfile", "")
        below = folder.removeprefix(context) if context and folder.startswith(context) else ""
        return f"{context}\0{below}\0{self.frontend.filename}"

    resources: Resources = Resources()


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One step as it ended; times in nanoseconds since the epoch. `logged`: it wrote something (`<number>.log`)."""

    number: int
    name: str
    digest: str
    started: int = 0
    completed: int = 0
    cached: bool = False
    error: str = ""
    execution: str = ""
    logged: bool = False
    place: str = ""
    platform: str = ""
    key: str = ""
    """Of its cache record."""
    origin: str = ""
    """The shared cache that a cached step's result comes from."""


class BuildOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was made. `root` and `config` are of the last image-like output; both None when there was none."""

    build_id: str
    root: Descriptor | None = None
    config: Digest | None = None
    manifests: tuple[tuple[Platform, Digest], ...] = ()
    """Per platform, the digest of its manifest."""
    names: tuple[str, ...] = ()
    stored: bool = False
    steps: tuple[StepRecord, ...] = ()
    executed: int = 0
    cached: int = 0
    log_folder: str = ""
    cache: Descriptor | None = None
    """The manifest of the cache that was exported."""
    lock: tuple[LockEntry, ...] = ()
    """What every name that may change meant in this build."""
    answer: tuple[tuple[str, bytes], ...] = ()
    """Of a request that asked about the file instead of building it (`FrontendRequest.subrequest`)."""
