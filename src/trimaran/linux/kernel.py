"""What kernel runs here: for what a kernel does not say until it is too late to ask."""

from __future__ import annotations

import itertools
import os


def release() -> tuple[int, int]:
    """Its major and minor number, whatever a distribution adds to them ("6.1.0-56-amd64", "6.18-rc1")."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(itertools.takewhile(str.isdigit, minor)) or 0)
