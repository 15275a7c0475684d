"""The embedded builder as `ls` and `inspect` show builders: platforms, network, runtime, settings of this machine."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from trimaran import __version__
from trimaran.cli.template.values import Value

if TYPE_CHECKING:
    from trimaran.settings import GcPolicy, Settings

NAME = "trimaran"
NODE = "trimaran0"
DRIVER = "embedded"


class EmbeddedBuilder(msgspec.Struct, frozen=True, kw_only=True):
    endpoint: str
    """The folder of the store."""
    version: str
    platforms: list[str]
    labels: list[tuple[str, str]]
    last_activity: str
    policies: list[list[tuple[str, str]]]
    """Per garbage collection rule its settings, worded."""

    @property
    def json(self) -> Value:
        """One object, with the keys buildx has."""
        node: dict[str, Value] = {
            "Name": NODE,
            "Endpoint": self.endpoint,
            "Status": "running",
            "Version": self.version,
            "Platforms": list(self.platforms),
            "Labels": dict(self.labels),
        }
        builder: dict[str, Value] = {"Current": True, "Driver": DRIVER, "Dynamic": False}
        if self.last_activity:
            builder["LastActivity"] = self.last_activity
        return builder | {"Name": NAME, "Nodes": [node]}


def describe() -> EmbeddedBuilder:
    """Reads settings, handlers and the store's folder; starts and changes nothing."""
    from trimaran import settings
    from trimaran.engine.engine import state_folder
    from trimaran.executor import binfmt, emulation
    from trimaran.platforms import default

    configuration = settings.load()
    root = state_folder(configuration)
    handlers = binfmt.foreseen(emulation.read_handlers(), os.geteuid())
    return EmbeddedBuilder(
        endpoint=root,
        version=f"trimaran-v{__version__}",
        platforms=list(emulation.supported_platforms(default().architecture, handlers=handlers)),
        labels=_labels(configuration),
        last_activity=_last_activity(root),
        policies=[_policy(policy) for policy in configuration.worker.gc_policies],
    )


def _labels(configuration: Settings) -> list[tuple[str, str]]:
    from trimaran.errors import TrimaranError
    from trimaran.executor.isolation import choose as choose_isolation
    from trimaran.executor.isolation import weakest_accepted
    from trimaran.executor.network import choose
    from trimaran.executor.runtime import choose_program
    from trimaran.linux.enter import foresee

    try:
        runtime = choose_program(configuration.worker.binary or None)[0]
    except TrimaranError as error:
        runtime = f"none ({error.message})"
    rootless = os.geteuid() != 0
    isolation = choose_isolation(foresee(), weakest_accepted(configuration.worker))
    return [
        ("network", str(choose(rootless=rootless))),
        ("rootless", str(rootless).lower()),
        ("runtime", runtime),
        ("sandbox", str(isolation)),
        ("settings", configuration.path or "built-in"),
    ]


def _policy(policy: GcPolicy) -> list[tuple[str, str]]:
    rows = [("All", str(policy.all).lower())]
    if policy.filters:
        rows.append(("Filters", ",".join(policy.filters)))
    if policy.keep_duration:
        hours, seconds = divmod(policy.keep_duration, 3600)
        rows.append(("Keep Duration", f"{hours}h{seconds // 60}m{seconds % 60}s"))
    return rows


def _last_activity(root: str) -> str:
    """When a build last began; "" on a new store."""
    try:
        newest = max(entry.stat().st_mtime for entry in os.scandir(f"{root}/builds"))
    except (OSError, ValueError):
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(newest))
