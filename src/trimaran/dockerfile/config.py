"""The image config a build makes: moby's document (image-spec plus Docker's own fields), changed by instructions.

Law: fields come out in Go's order; what BuildKit drops of a base image's config (unknown fields) is dropped here too.
Diff ids and the times of new history entries are filled in by the exporter.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trimaran.errors import Corrupt
from trimaran.platforms import Platform

COMMENT = "buildkit.dockerfile.v0"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Health(msgspec.Struct, rename="pascal", omit_defaults=True):
    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    user: str = ""
    exposed_ports: dict[str, Any] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Health | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class RootFS(msgspec.Struct):
    type: str = "layers"
    diff_ids: list[str] | None = None


class Image(msgspec.Struct):
    """Mutable: each stage changes its own copy. `variables` is the environment once it was asked for or changed."""

    architecture: str = ""
    author: str = ""
    config: RunConfig | None = None
    history: list[HistoryEntry] | None = None
    os: str = ""
    os_features: list[str] | None = msgspec.field(name="os.features", default=None)
    os_version: str = msgspec.field(name="os.version", default="")
    rootfs: RootFS | None = None
    variant: str = ""
    variables: dict[str, str] | None = msgspec.field(name="", default=None)

    @property
    def run(self) -> RunConfig:
        if self.config is None:
            self.config = RunConfig()
        return self.config

    @property
    def has_layers(self) -> bool:
        """Whether there is a file system; schema 1 images tell only by their history."""
        if self.rootfs is not None and self.rootfs.diff_ids:
            return True
        return any(not entry.empty_layer for entry in self.history or ())

    def copy(self) -> Image:
        """To be changed independently: lists and dictionaries are new, entries (never changed) are shared."""
        config = msgspec.structs.replace(
            self.run,
            exposed_ports=dict(self.run.exposed_ports or {}),
            volumes=dict(self.run.volumes or {}),
            labels=dict(self.run.labels or {}),
            on_build=list(self.run.on_build or []),
        )
        return msgspec.structs.replace(
            self, config=config, history=list(self.history or []), variables=dict(self.env())
        )

    def add_history(self, created_by: str, *, layer: bool, created: str | None) -> None:
        if self.history is None:
            self.history = []
        self.history.append(
            HistoryEntry(created=created, created_by=created_by, comment=COMMENT, empty_layer=not layer)
        )

    def env(self) -> dict[str, str]:
        """By name, in order; not to be changed by others."""
        if self.variables is None:
            self.variables = dict(pair.partition("=")[::2] for pair in self.run.env or ())
        return self.variables

    def set_env(self, name: str, value: str) -> None:
        """Replace in place, or append."""
        self.env()[name] = value

    def set_platform(self, platform: Platform) -> None:
        """The asked platform wins over what the base image said; a base's variant stays when none is asked for."""
        same = (self.os, self.architecture) == (platform.os, platform.architecture)
        self.os, self.architecture = platform.os, platform.architecture
        if platform.variant or not same:
            self.variant = platform.variant
        if platform.os_version or not same:
            self.os_version = platform.os_version
        if platform.os_features:
            self.os_features = list(platform.os_features)

    def encode(self) -> bytes:
        """The document; empty parts left out, and the platform normalised."""
        platform = Platform(self.os, self.architecture, self.variant).normalize()
        fields: dict[str, Any] = {
            "architecture": platform.architecture,
            "author": self.author,
            "config": _sorted_maps(self.run, [f"{name}={value}" for name, value in self.env().items()]),
            "history": self.history or [],
            "os": platform.os,
            "os.features": self.os_features,
            "os.version": self.os_version,
            "rootfs": self.rootfs or RootFS(diff_ids=[]),
            "variant": platform.variant,
        }
        return msgspec.json.encode({name: value for name, value in fields.items() if value or name == "history"})


def _sorted_maps(config: RunConfig, env: list[str]) -> RunConfig:
    """Maps in order of their names; empty lists and maps are left out, as Go leaves them out."""
    lists = {name: getattr(config, name) or None for name in ("entrypoint", "cmd", "on_build", "shell")}
    return msgspec.structs.replace(
        config,
        exposed_ports=dict(sorted(config.exposed_ports.items())) if config.exposed_ports else None,
        volumes=dict(sorted(config.volumes.items())) if config.volumes else None,
        labels=dict(sorted(config.labels.items())) if config.labels else None,
        env=env or None,
        **lists,
    )


def empty_image(platform: Platform) -> Image:
    """What `FROM scratch` begins with."""
    return Image(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        os_version=platform.os_version,
        rootfs=RootFS(diff_ids=[]),
        config=RunConfig(env=["PATH=" + DEFAULT_PATH], working_dir="/"),
    )


def decode_image(raw: bytes, name: str) -> Image:
    """A base image's config; Corrupt when it is none."""
    try:
        image = msgspec.json.decode(raw, type=Image)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Corrupt(f"read image config of {name}: {error}") from None
    image.variables = None  # no field of the document
    return image
