"""`--output` and `--annotation`: from csv to the typed outputs of `builders/options.py` (reference §1.3, §4.5)."""

from __future__ import annotations

from typing import Any, cast

from trimaran.builders.checks import check_tag
from trimaran.builders.options import (
    STDOUT,
    Annotation,
    AnnotationKind,
    CacheOnlyOutput,
    Compression,
    CompressionKind,
    DockerOutput,
    ImageOutput,
    LocalOutput,
    OciOutput,
    Output,
    TarOutput,
)
from trimaran.cli.attributes import Attributes
from trimaran.cli.units import split_csv
from trimaran.errors import UsageError
from trimaran.spelling import unknown

TYPES = ("image", "registry", "oci", "docker", "local", "tar", "cacheonly")
ANNOTATION_KINDS = ("manifest", "manifest-descriptor", "index", "index-descriptor")
_COMPRESSIONS = ("gzip", "zstd", "uncompressed")


def parse_output(text: str) -> Output:
    """One `--output`. Without `type=`, `-` is a tar on standard output and anything else a local folder."""
    if not text:
        raise UsageError('read --output "": empty', hint="for example type=local,dest=./out")
    if "=" not in text and "," not in text:
        return TarOutput(dest=STDOUT) if text == STDOUT else LocalOutput(dest=text)
    attributes = Attributes.parse("output", text)
    kind = attributes.text("type")
    if not kind:
        raise UsageError(f'read --output "{text}": type is required', hint="types: " + ", ".join(TYPES))
    if kind not in TYPES:
        message, hint = unknown("type of --output", kind, TYPES)
        raise UsageError(message, hint=hint)
    output = _READERS[kind](attributes)
    attributes.finish(f"type={kind}")
    return output


def _image(attributes: Attributes) -> Output:
    return ImageOutput(
        push=attributes.boolean("push"),
        push_by_digest=attributes.boolean("push-by-digest"),
        insecure=attributes.boolean("registry.insecure"),
        store=attributes.boolean("store", default=True),
        **_shared(attributes),
    )


def _registry(attributes: Attributes) -> Output:
    return ImageOutput(
        push=attributes.boolean("push", default=True),
        push_by_digest=attributes.boolean("push-by-digest"),
        insecure=attributes.boolean("registry.insecure"),
        store=attributes.boolean("store", default=True),
        **_shared(attributes),
    )


def _oci(attributes: Attributes) -> Output:
    tar = attributes.boolean("tar", default=True)
    dest = attributes.text("dest")
    if not dest:
        if not tar:
            raise UsageError("read --output type=oci: dest is required with tar=false", hint="add dest=FOLDER")
        dest = STDOUT
    if dest == STDOUT and not tar:
        raise UsageError("read --output type=oci,tar=false: a folder cannot go to standard output")
    return OciOutput(dest=dest, tar=tar, **_shared(attributes))


def _docker(attributes: Attributes) -> Output:
    return DockerOutput(
        dest=attributes.text("dest"),
        tar=attributes.boolean("tar", default=True),
        context=attributes.text("context"),
        **_shared(attributes),
    )


def _local(attributes: Attributes) -> Output:
    dest = attributes.text("dest")
    if not dest or dest == STDOUT:
        raise UsageError("read --output type=local: dest must be a folder", hint="add dest=FOLDER")
    mode = attributes.choice("mode", ("copy", "delete"), "copy")
    return LocalOutput(
        dest=dest,
        mode="delete" if mode == "delete" else "copy",
        platform_split=attributes.maybe("platform-split"),
        source_date_epoch=_files(attributes),
    )


def _tar(attributes: Attributes) -> Output:
    return TarOutput(
        dest=attributes.text("dest", STDOUT) or STDOUT,
        platform_split=attributes.maybe("platform-split"),
        source_date_epoch=_files(attributes),
    )


def _cache_only(attributes: Attributes) -> Output:
    del attributes
    return CacheOnlyOutput()


_READERS = {
    "image": _image,
    "registry": _registry,
    "oci": _oci,
    "docker": _docker,
    "local": _local,
    "tar": _tar,
    "cacheonly": _cache_only,
}


def _files(attributes: Attributes) -> int | None:
    attributes.refuse("attestation-prefix", "leave it out: there are no attestations to name")
    return attributes.integer("source-date-epoch")


def _shared(attributes: Attributes) -> dict[str, Any]:
    """What all image outputs know; what only BuildKit's own store has a use for is refused by name."""
    for key in ("dangling-name-prefix", "danging-name-empty-only", "name-canonical"):
        attributes.refuse(key, "name the image with -t or name=", unless="false")
    for key in ("unpack", "prefer-nondist-layers", "attestation-inline"):
        attributes.refuse(key, f"leave {key} out: the result is the same to who pulls it", unless="false")
    attributes.refuse("oci-artifact", "leave it out: no attestation manifests are written", unless="true")
    names = attributes.text("name")
    return {
        "names": tuple(check_tag(name) for name in split_csv(names)) if names else (),
        "annotations": _output_annotations(attributes),
        "compression": _compression(attributes),
        "oci_media_types": attributes.maybe("oci-mediatypes"),
        "source_date_epoch": attributes.integer("source-date-epoch"),
        "rewrite_timestamp": attributes.boolean("rewrite-timestamp"),
    }


def _compression(attributes: Attributes) -> Compression:
    kind = attributes.text("compression", "gzip")
    if kind in {"estargz", "nydus"}:
        raise UsageError(
            f"read --output compression={kind}: not done by the embedded builder", hint="use gzip, zstd or uncompressed"
        )
    if kind not in _COMPRESSIONS:
        message, hint = unknown("compression of --output", kind, _COMPRESSIONS)
        raise UsageError(message, hint=hint)
    level, force = attributes.level(kind), attributes.boolean("force-compression")
    return Compression(cast("CompressionKind", kind), level, force)


def _output_annotations(attributes: Attributes) -> tuple[Annotation, ...]:
    """`annotation.KEY`, `annotation-index.KEY`, `annotation-manifest[linux/amd64].KEY`."""
    found = []
    for name, value in attributes.matching("annotation"):
        head, dot, key = name.partition(".")
        if "[" in name and "]" in name:
            head, _, rest = name.partition("]")
            head, dot, key = head + "]", rest[:1], rest[1:]
        if dot != "." or not key:
            raise UsageError(f"read --output {name}: annotation without a key", hint="write annotation.KEY=VALUE")
        kind, platform = _kind(head.removeprefix("annotation").removeprefix("-"))
        found.append(Annotation(kind, platform, key, value))
    return tuple(found)


def _kind(text: str) -> tuple[AnnotationKind, str | None]:
    """`index-descriptor`, `manifest[linux/arm64]`, "" for a manifest of any platform."""
    kind, bracket, platform = text.partition("[")
    if bracket and not platform.endswith("]"):
        raise UsageError(f'parse annotations: "{text}" has no closing bracket')
    kind = kind or "manifest"
    if kind not in ANNOTATION_KINDS:
        message, hint = unknown("annotation type", kind, ANNOTATION_KINDS)
        raise UsageError(f"parse annotations: {message}", hint=hint)
    platform = platform.removesuffix("]")
    if platform and kind.startswith("index"):
        raise UsageError(f"parse annotations: {kind} takes no platform: one index is for all of them")
    return cast("AnnotationKind", kind), platform or None


def parse_annotation(text: str) -> tuple[Annotation, ...]:
    """`[type[,type]…[platform]:]key=value`; one Annotation per type."""
    head, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f'parse annotations: invalid annotation "{text}", expected key=value')
    types, colon, key = head.partition(":")
    if not colon:
        types, key = "", head
    elif types.partition("[")[0].split(",")[0] not in ANNOTATION_KINDS and "." in types:
        # A colon may be part of the key itself; a type never has a dot.
        types, key = "", head
    if not key:
        raise UsageError(f'parse annotations: invalid annotation "{text}", expected key=value')
    platform = ""
    if "[" in types:
        types, _, platform = types.partition("[")
        platform = "[" + platform
    return tuple(
        Annotation(*_kind(kind + ("" if kind.startswith("index") else platform)), key, value)
        for kind in types.split(",")
    )
