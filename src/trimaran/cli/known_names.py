"""Names that completion offers because this machine has them. What cannot be read has no names: a TAB is no error."""

from __future__ import annotations

import sys

from trimaran.cli import commands
from trimaran.errors import TrimaranError


def names(kind: str) -> list[str]:
    """Of `builder`, `image` (those of the store) or `build` (the latest first)."""
    if kind == "builder":
        return sorted(commands.EMBEDDED_BUILDERS - {""})
    if sys.platform != "linux":  # there is no store
        return []
    try:
        return _images() if kind == "image" else _builds()
    except (TrimaranError, OSError):
        return []


def _images() -> list[str]:
    import asyncio

    from trimaran.cli.images import stored

    named = [image.name for image in asyncio.run(stored()) if image.name]
    return sorted({name.familiar for name in named})


def _builds() -> list[str]:
    from trimaran import settings
    from trimaran.engine.engine import state_folder
    from trimaran.engine.history import asked_for, builds

    return [record.build_id for record in asked_for(builds(state_folder(settings.load())))]
