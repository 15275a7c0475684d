"""What of this machine would keep a build from working, and the one command that mends it.

One check per file: `examine(machine)` gathers facts by thin probes and hands them to a pure `decide`. Nothing here
changes the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

from trimaran.doctor.machine import Finding, Machine

CHECKS = ("place", "runtime", "overlay", "user_namespaces", "apparmor", "cgroups", "binfmt", "registry", "disk")
"""The modules, in the order they are shown; a later one may assume that the earlier are mended."""


def checks() -> tuple[str, ...]:
    """The names of all checks."""
    return CHECKS


def run(machine: Machine | None = None, names: Sequence[str] = CHECKS) -> list[Finding]:
    """Examine the machine, about 200 ms; a probe that breaks is a finding, not an error."""
    from importlib import import_module

    from trimaran.errors import TrimaranError

    machine = machine or Machine()
    findings: list[Finding] = []
    for name in names:
        module = import_module(f"trimaran.doctor.{name}")
        try:
            findings.extend(module.examine(machine))
        except (OSError, TrimaranError) as error:
            findings.append(Finding(name.replace("_", " "), "fail", f"cannot be examined: {error}"))
    return findings
