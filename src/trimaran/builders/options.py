"""What a person asks of a build, typed: made by `cli/build.py` from flags (later by bake), read by `builders/plan.py`.

Law: no text that still needs parsing lives here; csv values, keys and units were checked at the edge that read them.
Platforms stay text: `local` and the node's own platform are only known to the plan. What buildx knows and this version
does not do has no field: the edge refuses it by name.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from trimaran.graph.ops import HostIP, Ulimit

AnnotationKind = Literal["manifest", "manifest-descriptor", "index", "index-descriptor"]
CompressionKind = Literal["gzip", "zstd", "uncompressed"]
ProgressMode = Literal["auto", "tty", "plain", "quiet", "rawjson", "none"]

STDIN = "-"
"""`context` or `file`: read from standard input."""
STDOUT = "-"
"""`dest`: write to standard output."""


class Annotation(msgspec.Struct, frozen=True):
    """One annotation on one kind of document; `platform` None means all of that kind."""

    kind: AnnotationKind
    platform: str | None
    key: str
    value: str


class Compression(msgspec.Struct, frozen=True):
    """How layers are written; `level` None is the kind's default, `force` also rewrites the layers of the base."""

    kind: CompressionKind = "gzip"
    level: int | None = None
    force: bool = False


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What all outputs that are images share. `names` override `BuildOptions.tags` when not empty."""

    names: tuple[str, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    compression: Compression = Compression()
    #: None: OCI, but for `type=docker`, which writes Docker's types.
    oci_media_types: bool | None = None
    #: Seconds since the epoch: the `created` of config and history; None: the build's.
    source_date_epoch: int | None = None
    #: Clamp the times inside layers to `source_date_epoch`.
    rewrite_timestamp: bool = False


class ImageOutput(ImageOptions, frozen=True, kw_only=True):
    """`type=image` (and `registry`): into the image store, and to the registry when `push`."""

    push: bool = False
    push_by_digest: bool = False
    #: Plain HTTP or unverified TLS is allowed for this push.
    insecure: bool = False
    #: Keep the image in the store under its names.
    store: bool = True


class OciOutput(ImageOptions, frozen=True, kw_only=True):
    """`type=oci`: an image layout, as one archive or (`tar` False) as a folder at `dest`."""

    dest: str
    tar: bool = True


class DockerOutput(ImageOptions, frozen=True, kw_only=True):
    """`type=docker`: an archive at `dest`, or (`dest` empty) into a Docker daemon; `context` names which."""

    dest: str = ""
    tar: bool = True
    context: str = ""


class LocalOutput(msgspec.Struct, frozen=True, kw_only=True):
    """`type=local`: the files of the result, into the folder `dest`."""

    dest: str
    #: None: a folder per platform exactly when several were asked for.
    platform_split: bool | None = None
    #: "delete" also removes what `dest` holds and the result does not.
    mode: Literal["copy", "delete"] = "copy"
    source_date_epoch: int | None = None


class TarOutput(msgspec.Struct, frozen=True, kw_only=True):
    """`type=tar`: the files of the result as one archive."""

    dest: str
    platform_split: bool | None = None
    source_date_epoch: int | None = None


class CacheOnlyOutput(msgspec.Struct, frozen=True):
    """`type=cacheonly`: build, keep the cache, export nothing."""


Output = ImageOutput | OciOutput | DockerOutput | LocalOutput | TarOutput | CacheOnlyOutput


class BuildContext(msgspec.Struct, frozen=True):
    """`--build-context name=value`; `value` is a folder, or a URL whose scheme says what it is."""

    name: str
    value: str


class BuildOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One build. `context` is a folder, a URL or STDIN; `file` is relative to the working folder, "" the default."""

    context: str
    file: str = ""
    tags: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
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
    allow: tuple[str, ...] = ()
    """Entitlements granted: `network.host`, `buildx.local.delete`."""
    outputs: tuple[Output, ...] = ()
    """As given by `--output`; empty: the image stays in the store. `push` and `load` come on top."""
    push: bool = False
    load: bool = False
    iidfile: str = ""
    metadata_file: str = ""
    progress: ProgressMode = "auto"
    builder: str = ""
    """The builder's name as asked for ("" is the current one)."""
    debug: bool = False


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a build leaves for its caller. `image_id` is the config digest (one platform), else index digest, or ""."""

    image_id: str = ""
    build_id: str = ""
    """Names the build's log folder (`trimaran logs BUILD`)."""
    metadata: bytes = b""
    """The JSON of `--metadata-file`."""
    images: tuple[str, ...] = ()
    """Names under which the image now is in the store."""
    log_folder: str = ""
