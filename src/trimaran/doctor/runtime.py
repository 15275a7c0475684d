"""The container runtime: crun or runc, as the engine would choose it, and not older than the known escapes."""

from __future__ import annotations

import os

import msgspec

from trimaran.doctor.machine import Finding, Machine
from trimaran.doctor.remedies import Remedies

LEAST = {"crun": (1, 0), "runc": (1, 0)}
"""Older ones do not know the runtime specification we write."""
SAFE_RUNC: dict[tuple[int, ...], tuple[int, ...]] = {(1, 2): (1, 2, 8), (1, 3): (1, 3, 3)}
"""CVE-2025-31133, -52565, -52881 (T12): fixed in these patch releases, and in every branch after 1.3."""


class Found(msgspec.Struct, frozen=True):
    """`version` as the program says it; "" when it did not answer."""

    name: str
    path: str
    version: str


def examine(machine: Machine) -> list[Finding]:
    wanted = machine.environment.get("TRIMARAN_RUNTIME", "")
    found = []
    for name in (wanted,) if wanted else ("crun", "runc"):
        path = machine.find(name) if not name.startswith("/") else name
        if path and os.access(path, os.X_OK):
            code, text = machine.run([path, "--version"])
            found.append(Found(os.path.basename(name), path, _version(text) if code == 0 else ""))
    return [decide(found, machine.remedies, wanted)]


def _version(text: str) -> str:
    words = text.split()
    return words[2] if words[1:2] == ["version"] and len(words) > 2 else ""


def decide(found: list[Found], remedies: Remedies, wanted: str = "") -> Finding:
    """The engine takes the first that is there; the rest does not matter."""
    name = os.path.basename(wanted) or "crun"
    if not found:
        what = f"{wanted} (TRIMARAN_RUNTIME) is not there" if wanted else "neither crun nor runc is installed"
        return Finding("runtime", "fail", f"{what}: RUN cannot work", remedies.install(name))
    chosen = found[0]
    numbers = version_numbers(chosen.version)
    shown = f"{chosen.name} {chosen.version or '?'} ({chosen.path})"
    if not numbers:
        command = remedies.install(chosen.name).replace(" install ", " install --reinstall ")
        return Finding("runtime", "fail", f"{shown} does not tell its version: it may be broken", command)
    if numbers < LEAST.get(chosen.name, (0,)):
        least = ".".join(map(str, LEAST[chosen.name]))
        return Finding("runtime", "fail", f"{shown} is older than {least}", remedies.upgrade(chosen.name))
    if chosen.name == "runc" and not _is_safe(numbers):
        detail = f"{shown} has known ways out of its containers, unless the distribution has patched it"
        return Finding("runtime", "warn", f"{detail}; crun is not concerned", remedies.install("crun"))
    return Finding("runtime", "ok", shown)


def _is_safe(numbers: tuple[int, ...]) -> bool:
    branch = tuple(numbers[:2])
    return numbers >= SAFE_RUNC.get(branch, (1, 4))


def version_numbers(text: str) -> tuple[int, ...]:
    """`1.1.5+ds1` is (1, 1, 5); () for what is no version."""
    numbers = []
    for part in text.split("."):
        digits = part[: next((i for i, c in enumerate(part) if not c.isdigit()), len(part))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
