"""Trimaran builds container images for many platforms at once.

Nothing is imported here but on demand: start-up time is a feature (ARCHITECTURE.md, "Start-up"). What is public is in
`__all__`; docs/python.md shows how it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimaran import graph
    from trimaran.builders.options import (
        Annotation,
        BuildResult,
        BuildStep,
        CacheOnlyOutput,
        Compression,
        DockerOutput,
        ImageOutput,
        LocalOutput,
        OciOutput,
        Resources,
        TarOutput,
        Ulimit,
    )
    from trimaran.errors import (
        Cancelled,
        Conflict,
        Corrupt,
        Denied,
        NotCached,
        NotFound,
        StepFailed,
        TrimaranError,
        Unavailable,
        Unsupported,
        UsageError,
    )
    from trimaran.events import LogEvent, MissEvent, StatusEvent, VertexEvent, WarningEvent
    from trimaran.library.build import build, build_async, from_dockerfile, from_dockerfile_async
    from trimaran.linux.limits import Limits
    from trimaran.platforms import Platform

__version__ = "0.1.0"

_PLACES = {
    "trimaran.library.build": ("build", "build_async", "from_dockerfile", "from_dockerfile_async"),
    "trimaran.builders.options": (
        "Annotation",
        "BuildResult",
        "BuildStep",
        "CacheOnlyOutput",
        "Compression",
        "DockerOutput",
        "ImageOutput",
        "LocalOutput",
        "OciOutput",
        "Resources",
        "TarOutput",
        "Ulimit",
    ),
    "trimaran.errors": (
        "Cancelled",
        "Conflict",
        "Corrupt",
        "Denied",
        "NotCached",
        "NotFound",
        "StepFailed",
        "TrimaranError",
        "Unavailable",
        "Unsupported",
        "UsageError",
    ),
    "trimaran.events": ("LogEvent", "MissEvent", "StatusEvent", "VertexEvent", "WarningEvent"),
    "trimaran.linux.limits": ("Limits",),
    "trimaran.platforms": ("Platform",),
}
"""Where each public name is kept."""

__all__ = [
    "Annotation",
    "BuildResult",
    "BuildStep",
    "CacheOnlyOutput",
    "Cancelled",
    "Compression",
    "Conflict",
    "Corrupt",
    "Denied",
    "DockerOutput",
    "ImageOutput",
    "Limits",
    "LocalOutput",
    "LogEvent",
    "MissEvent",
    "NotCached",
    "NotFound",
    "OciOutput",
    "Platform",
    "Resources",
    "StatusEvent",
    "StepFailed",
    "TarOutput",
    "TrimaranError",
    "Ulimit",
    "Unavailable",
    "Unsupported",
    "UsageError",
    "VertexEvent",
    "WarningEvent",
    "__version__",
    "build",
    "build_async",
    "from_dockerfile",
    "from_dockerfile_async",
    "graph",
]


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first used."""
    from importlib import import_module

    if name == "graph":
        return import_module("trimaran.graph")
    for place, names in _PLACES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(place), name)
            return value
    raise AttributeError(f"module 'trimaran' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
