"""What an export is asked to be, typed: one Struct per `type=` keyword.

Law: no text that still needs parsing lives here; csv values, keys and units were checked at the edge that read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

AnnotationKind = Literal["manifest", "manifest-descriptor", "index", "index-descriptor"]
CompressionKind = Literal["gzip", "zstd", "uncompressed"]

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

    def created(self, now: int) -> int:
        """When the result counts as made, `now` and the answer in ns."""
        return now if self.source_date_epoch is None else self.source_date_epoch * 1_000_000_000


class ImageOutput(ImageOptions, frozen=True, kw_only=True, tag=True):
    """`type=image` (and `registry`): into the image store, and to the registry when `push`."""

    push: bool = False
    push_by_digest: bool = False
    #: Plain HTTP or unverified TLS is allowed for this push.
    insecure: bool = False
    #: Keep the image in the store under its names.
    store: bool = True


class OciOutput(ImageOptions, frozen=True, kw_only=True, tag=True):
    """`type=oci`: an image layout, as one archive or (`tar` False) as a folder at `dest`."""

    dest: str
    tar: bool = True


class DockerOutput(ImageOptions, frozen=True, kw_only=True, tag=True):
    """`type=docker`: an archive at `dest`, or (`dest` empty) into a Docker daemon; `context` names which."""

    dest: str = ""
    tar: bool = True
    context: str = ""


class LocalOutput(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """`type=local`: the files of the result, into the folder `dest`."""

    dest: str
    #: None: a folder per platform exactly when several were asked for.
    platform_split: bool | None = None
    #: "delete" also removes what `dest` holds and the result does not.
    mode: Literal["copy", "delete"] = "copy"
    source_date_epoch: int | None = None


class TarOutput(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """`type=tar`: the files of the result as one archive."""

    dest: str
    platform_split: bool | None = None
    source_date_epoch: int | None = None


class CacheOnlyOutput(msgspec.Struct, frozen=True, tag=True):
    """`type=cacheonly`: build, keep the cache, export nothing."""


Output = ImageOutput | OciOutput | DockerOutput | LocalOutput | TarOutput | CacheOnlyOutput


def latest(outputs: Sequence[Output]) -> int | None:
    """Seconds since the epoch: the last time that may reach a file of an output; None where any may."""
    found = [
        output.source_date_epoch
        for output in outputs
        if not isinstance(output, CacheOnlyOutput)
        and (not isinstance(output, ImageOptions) or output.rewrite_timestamp)
    ]
    return max((epoch for epoch in found if epoch is not None), default=None)


def at_epoch(output: Output, epoch: int | None, *, reproducible: bool) -> Output:
    """The output with the build's SOURCE_DATE_EPOCH, unless it has its own; times in layers too if `reproducible`."""
    if isinstance(output, CacheOnlyOutput):
        return output
    if output.source_date_epoch is None and epoch is not None:
        output = msgspec.structs.replace(output, source_date_epoch=epoch)
    if reproducible and isinstance(output, ImageOptions):
        output = msgspec.structs.replace(output, rewrite_timestamp=True)
    return output
