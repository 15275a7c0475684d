"""Where the engine keeps its state, as the settings and the environment say, without making it."""

from __future__ import annotations

import os

from trimaran.doctor.machine import Machine
from trimaran.errors import UsageError


def state_folder(machine: Machine) -> str:
    """$TRIMARAN_ROOT, else `root` of the settings, else /var/lib/trimaran for root, else the XDG data folder."""
    from trimaran.settings import load

    named = machine.environment.get("TRIMARAN_ROOT", "")
    if not named:
        try:
            named = load(machine.environment).root
        except UsageError:
            named = ""  # the registry check tells what is wrong with the settings
    if named:
        return os.path.abspath(named)
    if machine.uid == 0:
        return "/var/lib/trimaran"
    home = machine.environment.get("HOME") or os.path.expanduser("~")
    return os.path.join(machine.environment.get("XDG_DATA_HOME") or f"{home}/.local/share", "trimaran")


def nearest_existing(path: str) -> str:
    """The folder itself, or the first above it that is there."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path
