"""Image configs: how a container of the image starts, and what its layers are (OCI image-spec, config.md).

With docker's extensions (Healthcheck, OnBuild, Shell, …; moby/docker-image-spec). Fields we have no name for are kept
in `extra` and written back. Writing gives BuildKit's bytes: document keys sorted, `config` in the order of the Go
structs, empty fields left out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Corrupt
from trimaran.oci import documents
from trimaran.platforms import Platform

Pairs = tuple[tuple[str, str], ...]
Extra = tuple[tuple[str, Any], ...]


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in nanoseconds; 0 means inherited."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The `config` object. `entrypoint`, `cmd`, `shell`: None is absent, () is the empty list."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Pairs = ()
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] | None = None
    extra: Extra = ()


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One line of how the image came to be; `created` as written (RFC 3339), "" when absent."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The document; `raw` are the bytes it was read from, b"" for one made here."""

    platform: Platform
    created: str = ""
    author: str = ""
    config: ContainerConfig = ContainerConfig()
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    extra: Extra = ()
    raw: bytes = b""


class _HealthcheckJSON(msgspec.Struct, rename="pascal"):
    test: tuple[str, ...] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class _ContainerJSON(msgspec.Struct, rename="pascal"):
    user: str | None = None
    exposed_ports: dict[str, Any] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    args_escaped: bool | None = None
    healthcheck: _HealthcheckJSON | None = None
    on_build: tuple[str, ...] | None = None
    shell: tuple[str, ...] | None = None


class _HistoryJSON(msgspec.Struct):
    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class _RootfsJSON(msgspec.Struct):
    type: str = "layers"
    diff_ids: list[str] | None = None


class _ImageJSON(msgspec.Struct, rename={"os_version": "os.version", "os_features": "os.features"}):
    architecture: str = ""
    os: str = ""
    os_version: str | None = None
    os_features: tuple[str, ...] | None = None
    variant: str | None = None
    created: str | None = None
    author: str | None = None
    config: _ContainerJSON | None = None
    rootfs: _RootfsJSON | None = None
    history: list[_HistoryJSON] | None = None


_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(_ImageJSON))
_KNOWN_CONTAINER = frozenset(field.encode_name for field in msgspec.structs.fields(_ContainerJSON))


def parse(raw: bytes) -> ImageConfig:
    """Corrupt when `raw` is no image config, or one that can be read in two ways."""
    what = "image config"
    value = documents.check(raw, what, limit=documents.CONFIG_LIMIT)
    wire = documents.convert(value, _ImageJSON, what)
    rootfs = wire.rootfs or _RootfsJSON()
    if rootfs.type not in ("layers", ""):
        raise Corrupt(f"parse {what}: rootfs of type {rootfs.type[:50]!r}, not layers")
    _check_time(wire.created, what)
    for entry in wire.history or ():
        _check_time(entry.created, what)
    inner = value.get("config")
    return ImageConfig(
        platform=Platform(
            wire.os, wire.architecture, wire.variant or "", wire.os_version or "", wire.os_features or ()
        ),
        created=wire.created or "",
        author=wire.author or "",
        config=_container(wire.config or _ContainerJSON(), inner if isinstance(inner, dict) else {}),
        diff_ids=tuple(Digest.parse(text) for text in rootfs.diff_ids or ()),
        history=tuple(_history(entry) for entry in wire.history or ()),
        extra=tuple((key, item) for key, item in value.items() if key not in _KNOWN),
        raw=raw,
    )


def _check_time(text: str | None, what: str) -> None:
    if text:
        import datetime as dt  # msgspec has it loaded

        try:
            msgspec.convert(text, dt.datetime)
        except msgspec.ValidationError:
            raise Corrupt(f"parse {what}: {text[:60]!r} is no RFC 3339 time") from None


def _history(wire: _HistoryJSON) -> History:
    return History(
        created=wire.created or "",
        created_by=wire.created_by or "",
        author=wire.author or "",
        comment=wire.comment or "",
        empty_layer=bool(wire.empty_layer),
    )


def _container(wire: _ContainerJSON, value: dict[str, Any]) -> ContainerConfig:
    check = wire.healthcheck
    return ContainerConfig(
        user=wire.user or "",
        exposed_ports=tuple(wire.exposed_ports or ()),
        env=wire.env or (),
        entrypoint=wire.entrypoint,
        cmd=wire.cmd,
        volumes=tuple(wire.volumes or ()),
        working_dir=wire.working_dir or "",
        labels=tuple((wire.labels or {}).items()),
        stop_signal=wire.stop_signal or "",
        args_escaped=bool(wire.args_escaped),
        healthcheck=None
        if check is None
        else Healthcheck(
            test=check.test or (),
            interval=check.interval,
            timeout=check.timeout,
            start_period=check.start_period,
            start_interval=check.start_interval,
            retries=check.retries,
        ),
        on_build=wire.on_build or (),
        shell=wire.shell,
        extra=tuple((key, item) for key, item in value.items() if key not in _KNOWN_CONTAINER),
    )


def encode(config: ImageConfig) -> bytes:
    """The document's bytes: compact, keys sorted, as BuildKit's exporter writes them."""
    wire = to_wire(config)
    return documents.encode({key: wire[key] for key in sorted(wire)})


def to_wire(config: ImageConfig) -> dict[str, Any]:
    """JSON fields in the order of docker-image-spec's Go struct (DockerOCIImage)."""
    wire: dict[str, Any] = {}
    platform = config.platform
    optional = {
        "created": config.created,
        "author": config.author,
        "architecture": platform.architecture,
        "os": platform.os,
        "os.version": platform.os_version,
        "os.features": list(platform.os_features),
        "variant": platform.variant,
    }
    required = ("architecture", "os")
    wire.update((key, item) for key, item in optional.items() if item or key in required)
    wire["config"] = container_to_wire(config.config)
    wire["rootfs"] = {"type": "layers", "diff_ids": [str(digest) for digest in config.diff_ids] or None}
    if config.history:
        wire["history"] = [history_to_wire(entry) for entry in config.history]
    wire.update(config.extra)
    return wire


def history_to_wire(entry: History) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "created": entry.created,
        "created_by": entry.created_by,
        "author": entry.author,
        "comment": entry.comment,
        "empty_layer": entry.empty_layer,
    }
    return {key: item for key, item in fields.items() if item}


def container_to_wire(config: ContainerConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "User": config.user,
        "ExposedPorts": _set(config.exposed_ports),
        "Env": list(config.env),
        "Entrypoint": list(config.entrypoint or ()),
        "Cmd": list(config.cmd or ()),
        "Volumes": _set(config.volumes),
        "WorkingDir": config.working_dir,
        "Labels": documents.sorted_pairs(config.labels),
        "StopSignal": config.stop_signal,
        "ArgsEscaped": config.args_escaped,
        "Healthcheck": _healthcheck(config.healthcheck) if config.healthcheck is not None else None,
        "OnBuild": list(config.on_build),
        "Shell": list(config.shell or ()),
    }
    kept = {key: item for key, item in fields.items() if item or (key == "Healthcheck" and item is not None)}
    kept.update(config.extra)
    return kept


def _set(names: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """A Go `map[string]struct{}`."""
    return {name: {} for name in sorted(names)}


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "Test": list(check.test),
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    return {key: item for key, item in fields.items() if item}


def without_extra(config: ImageConfig) -> ImageConfig:
    """Only the fields we have names for: what BuildKit keeps of a base image's config."""
    inner = msgspec.structs.replace(config.config, extra=())
    return msgspec.structs.replace(config, config=inner, extra=(), raw=b"")
