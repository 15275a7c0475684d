"""Platforms: `os/architecture[/variant]`, parsed, normalised and matched by containerd's rules (reference §7.3)."""

from __future__ import annotations

import msgspec


class Platform(msgspec.Struct, frozen=True, order=True):
    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
