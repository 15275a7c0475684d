"""What a test has to know of a registry that wants credentials."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stage.tokens import TokenServer


class Guarded(NamedTuple):
    """A registry that wants credentials."""

    address: str  # host:port
    user: str
    password: str
    ca: Path | None = None  # what to trust, where it speaks TLS
    tokens: TokenServer | None = None
