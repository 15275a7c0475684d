"""Whom the files that we make are for."""

from __future__ import annotations

import os


def close_to_others() -> None:
    """Whatever umask we were started with: what this process and its children make is not everybody's to change (T49).

    For programs of our own, at their start, before there are threads. What users and groups may do stays as they said.
    """
    os.umask(os.umask(0o077) | 0o002)
