"""Documents as the structs Go programs have of them: which field of a template is which key of the JSON. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.cli.template import Record, Value


class Field(msgspec.Struct, frozen=True):
    """`name` in Go, `key` in JSON; `zero` is what a missing value is, `kind` the struct of its items or itself."""

    name: str
    key: str
    zero: Any = ""
    kind: Kind | None = None


class Kind(msgspec.Struct, frozen=True):
    name: str
    fields: tuple[Field, ...]


def record(kind: Kind, document: dict[str, Any]) -> Record:
    """Unknown keys are left out, empty ones too, as Go's encoder does with `omitempty`; the order is the struct's."""
    values: dict[str, Value] = {}
    json: dict[str, Value] = {}
    for field in kind.fields:
        found = document.get(field.key)
        value = _typed(field, found)
        values[field.name] = value
        if found not in (None, "", [], {}, False):
            json[field.key] = value
    return Record(kind.name, values, json)


def _typed(field: Field, found: Any) -> Value:
    value: Value = field.zero if found is None else found
    if field.kind is None:
        return value
    if isinstance(found, list):
        return [record(field.kind, item) for item in found]
    return record(field.kind, found) if isinstance(found, dict) else value


PLATFORM = Kind(
    "Platform",
    (
        Field("Architecture", "architecture"),
        Field("OS", "os"),
        Field("OSVersion", "os.version"),
        Field("OSFeatures", "os.features", []),
        Field("Variant", "variant"),
    ),
)
DESCRIPTOR = Kind(
    "Descriptor",
    (
        Field("MediaType", "mediaType"),
        Field("Digest", "digest"),
        Field("Size", "size", 0),
        Field("URLs", "urls", []),
        Field("Annotations", "annotations", {}),
        Field("Data", "data"),
        Field("Platform", "platform", None, PLATFORM),
        Field("ArtifactType", "artifactType"),
    ),
)
INDEX = Kind(
    "Index",
    (
        Field("SchemaVersion", "schemaVersion", 0),
        Field("MediaType", "mediaType"),
        Field("Digest", "digest"),
        Field("Size", "size", 0),
        Field("Manifests", "manifests", [], DESCRIPTOR),
        Field("Annotations", "annotations", {}),
    ),
)
_HEALTHCHECK = Kind(
    "Healthcheck",
    (
        Field("Test", "Test", []),
        Field("Interval", "Interval", 0),
        Field("Timeout", "Timeout", 0),
        Field("StartPeriod", "StartPeriod", 0),
        Field("StartInterval", "StartInterval", 0),
        Field("Retries", "Retries", 0),
    ),
)
_CONFIG = Kind(
    "ImageConfig",
    (
        Field("User", "User"),
        Field("ExposedPorts", "ExposedPorts", {}),
        Field("Env", "Env", []),
        Field("Entrypoint", "Entrypoint", []),
        Field("Cmd", "Cmd", []),
        Field("Volumes", "Volumes", {}),
        Field("WorkingDir", "WorkingDir"),
        Field("Labels", "Labels", {}),
        Field("StopSignal", "StopSignal"),
        Field("ArgsEscaped", "ArgsEscaped", False),
        Field("Healthcheck", "Healthcheck", None, _HEALTHCHECK),
        Field("OnBuild", "OnBuild", []),
        Field("Shell", "Shell", []),
    ),
)
_HISTORY = Kind(
    "History",
    (
        Field("Created", "created"),
        Field("CreatedBy", "created_by"),
        Field("Author", "author"),
        Field("Comment", "comment"),
        Field("EmptyLayer", "empty_layer", False),
    ),
)
_ROOTFS = Kind("RootFS", (Field("Type", "type"), Field("DiffIDs", "diff_ids", [])))
IMAGE = Kind(
    "Image",
    (
        Field("Created", "created"),
        Field("Author", "author"),
        *PLATFORM.fields,
        Field("Config", "config", None, _CONFIG),
        Field("RootFS", "rootfs", None, _ROOTFS),
        Field("History", "history", [], _HISTORY),
    ),
)
