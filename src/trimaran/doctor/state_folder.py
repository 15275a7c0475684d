"""Where the engine keeps its state, as the settings and the environment say, without making it."""

from __future__ import annotations

import os

from trimaran.doctor.machine import Machine
from trimaran.engine import engine
from trimaran.errors import UsageError
from trimaran.settings import Settings, load


def state_folder(machine: Machine) -> str:
    """Where the engine would put it; settings that cannot be read count as none (the registry check tells of them)."""
    try:
        settings = load(machine.environment)
    except UsageError:
        settings = Settings()
    return engine.state_folder(Settings(root=machine.environment.get("TRIMARAN_ROOT") or settings.root))


def nearest_existing(path: str) -> str:
    """The folder itself, or the first above it that is there."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path
