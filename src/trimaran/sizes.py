"""Sizes as Docker's programs show them to people. Pure."""

from __future__ import annotations

DECIMAL_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")


def decimal_size(count: float, precision: int = 4) -> str:
    """docker/go-units HumanSize: four significant digits, powers of 1000 (`1.086MB`, `162B`)."""
    size, unit = float(count), 0
    while size >= 1000 and unit < len(DECIMAL_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.{precision}g}{DECIMAL_UNITS[unit]}"
