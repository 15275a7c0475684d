"""Where the engine's state is. Asked before anything else of the engine is loaded."""

from __future__ import annotations

import os

from trimaran.settings import Settings


def state_folder(settings: Settings) -> str:
    """$TRIMARAN_ROOT, else the settings' root, else /var/lib/trimaran for root, else the XDG data folder."""
    root = os.environ.get("TRIMARAN_ROOT") or settings.root
    if root:
        return os.path.abspath(os.path.expanduser(root))
    if os.geteuid() == 0 and not _in_user_namespace():
        return "/var/lib/trimaran"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "trimaran")


def _in_user_namespace() -> bool:
    from trimaran.linux.mounts import in_user_namespace

    return in_user_namespace()
