"""What a person asks of a build, typed: made by `cli` from flags and by `library` from keywords, read by `plan`.

Law: no text that still needs parsing lives here; csv values, keys and units were checked at the edge that read them.
Platforms stay text: `local` and the node's own platform are only known to the plan. What buildx knows and this version
does not do has no field: the edge refuses it by name.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from trimaran.caches.options import CacheExport, CacheImport
from trimaran.engine.request import Resources
from trimaran.exporters.options import (
    STDOUT,
    Annotation,
    AnnotationKind,
    CacheOnlyOutput,
    Compression,
    CompressionKind,
    DockerOutput,
    ImageOptions,
    ImageOutput,
    LocalOutput,
    OciOutput,
    Output,
    TarOutput,
)
from trimaran.graph.frontend import GraphInput
from trimaran.graph.ops import HostIP, Ulimit
from trimaran.sources.given import AgentSource, ContextMode, SecretSource

ProgressMode = Literal["auto", "tty", "plain", "quiet", "rawjson", "none"]

STDIN = "-"
"""`context` or `file`: read from standard input."""


class BuildContext(msgspec.Struct, frozen=True):
    """`--build-context name=value`; `value` is a folder, or a URL whose scheme says what it is."""

    name: str
    value: str


class Call(msgspec.Struct, frozen=True):
    """`--call`: a question about the Dockerfile (`lint`, `outline`, `targets` …) instead of a build."""

    name: str
    format: str = ""
    """`json`, or "" for text; of a graph also `dot`."""
    ignore_status: bool = False
    """Exit with 0 whatever a check finds."""


class BuildOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One build. `context` is a folder, a URL or STDIN; `file` is relative to the working folder, "" the default."""

    context: str
    graphs: tuple[GraphInput, ...] = ()
    """What to build, one for each platform, instead of a Dockerfile; there is no context then."""
    folders: tuple[tuple[str, str], ...] = ()
    """Those the graphs read, by the names they have for them."""
    file: str = ""
    tags: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    dockerfile: bytes | None = None
    """The Dockerfile's text itself, instead of a file."""
    build_args: tuple[tuple[str, str | None], ...] = ()
    """A value of None is taken from the environment, and left out where that has none."""
    build_contexts: tuple[BuildContext, ...] = ()
    target: str = ""
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[Annotation, ...] = ()
    """For every image output, beside those of the output itself."""
    add_hosts: tuple[HostIP, ...] = ()
    """`ip` may be the word `host-gateway`."""
    network: Literal["", "default", "none", "host"] = ""
    ulimits: tuple[Ulimit, ...] = ()
    shm_size: int = 0
    """Bytes; 0: the default."""
    cgroup_parent: str = ""
    resources: Resources = Resources()
    allow: tuple[str, ...] = ()
    """Entitlements granted: `network.host`, `security.insecure`, `buildx.local.delete`."""
    secrets: tuple[SecretSource, ...] = ()
    agents: tuple[AgentSource, ...] = ()
    build_ca: tuple[str, ...] = ()
    """PEM files of certificates that RUN steps trust, while they run."""
    lock: str = ""
    """A file that says what tags, URLs and git refs are; what it does not know yet is added after the build."""
    locked: bool = False
    """What the lock does not name is an error, and the file stays as it is."""
    offline: bool = False
    outputs: tuple[Output, ...] = ()
    """As given by `--output`; empty: the image stays in the store. `push` and `load` come on top."""
    push: bool = False
    load: bool = False
    iidfile: str = ""
    metadata_file: str = ""
    cache_from: tuple[CacheImport, ...] = ()
    cache_to: tuple[CacheExport, ...] = ()
    progress: ProgressMode = "auto"
    builder: str = ""
    """The builder's name as asked for ("" is the current one)."""
    debug: bool = False
    reproducible: bool = False
    """The same digest on any day and machine: see `FrontendRequest.reproducible`."""
    call: Call | None = None
    context_mode: ContextMode = "exact"
    fail_on_miss: tuple[str, ...] = ()
    """Stages in which nothing may run that is not cached; `*` is any."""


class BuildStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a finished build."""

    name: str
    cached: bool = False
    execution: str = ""
    """`native`, `cross` or `emulated`; "" where no process of the build ran."""
    seconds: float = 0.0
    """From its start to its end, what it waited for other builds included."""
    log: str = ""
    """The file with all it wrote; "" when it wrote nothing."""


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a build leaves for its caller. `image_id` is the config digest (one platform), else index digest, or ""."""

    digest: str = ""
    """Of what is under the tags: the index of several platforms, or the one manifest; "" where there is no image."""
    digests: dict[str, str] = {}
    """The digest of each platform's manifest, by `os/architecture[/variant]`."""
    tags: tuple[str, ...] = ()
    """The names the image was given, whole: registry, repository and tag."""
    steps: tuple[BuildStep, ...] = ()
    image_id: str = ""
    build_id: str = ""
    """Names the build's log folder (`trimaran logs BUILD`)."""
    metadata: bytes = b""
    """The JSON of `--metadata-file`."""
    images: tuple[str, ...] = ()
    """Names under which the image now is in the store."""
    log_folder: str = ""
    answer: tuple[tuple[str, bytes], ...] = ()
    """To `BuildOptions.call`: `result.json`, `result.txt`, and what only some answers have."""
    folders: tuple[tuple[str, str], ...] = ()
    """Those that the graphs of an answer read."""


__all__ = [
    "STDIN",
    "STDOUT",
    "AgentSource",
    "Annotation",
    "AnnotationKind",
    "BuildContext",
    "BuildOptions",
    "BuildResult",
    "BuildStep",
    "CacheExport",
    "CacheImport",
    "CacheOnlyOutput",
    "Call",
    "Compression",
    "CompressionKind",
    "ContextMode",
    "DockerOutput",
    "GraphInput",
    "HostIP",
    "ImageOptions",
    "ImageOutput",
    "LocalOutput",
    "OciOutput",
    "Output",
    "ProgressMode",
    "Resources",
    "SecretSource",
    "TarOutput",
    "Ulimit",
]
