"""Resource limits of a step or a build as values, and the files of cgroup v2 and v1 they are written to.

Pure: they are part of what a build asks for, also where no group can be made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

Row = tuple[str, str, str]
"""Controller, file, value."""
LEAST_MEMORY = 6 << 20
"""Bytes: the least Docker takes, too. With less a runtime cannot start anything, and `64` was to be `64m`."""
_LARGEST = (1 << 63) - 1
_RANGES = {
    "memory_swap": (0, _LARGEST, "bytes"),
    "cpu_quota": (1000, _LARGEST, "microseconds"),
    "cpu_period": (1000, 1_000_000, "microseconds"),
    "cpu_weight": (1, 10_000, "a weight"),
    "pids": (1, _LARGEST, "processes"),
}
"""What the kernel takes, in both versions."""


class Fault(NamedTuple):
    """A limit that is none: which field, and why not."""

    field: str
    cause: str
    hint: str


class Limits(msgspec.Struct, frozen=True):
    """Limits of processes in one group, cgroup v2's words; None is no limit.

    `cpu_quota` is in microseconds per `cpu_period`.
    """

    memory: int | None = None
    memory_swap: int | None = None
    """Of swap alone."""
    cpu_quota: int | None = None
    cpu_period: int = 100_000
    cpu_weight: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None

    def fault(self) -> Fault | None:
        """What no kernel takes or no step can live in; processors and nodes that a machine has are for it to say."""
        if self.memory is not None and self.memory < LEAST_MEMORY:
            hint = f"{self.memory}m are megabytes" if 0 < self.memory < 1 << 16 else "such as 512m or 2g"
            return Fault("memory", f"no step can start in {self.memory} bytes, it takes at least 6m", hint)
        if self.memory is not None and self.memory > _LARGEST:
            return Fault("memory", "no machine has so much", "such as 512m or 2g")
        for field, (least, most, unit) in _RANGES.items():
            value = getattr(self, field)
            if value is not None and not least <= value <= most:
                end = f" to {most}" if most != _LARGEST else ""
                return Fault(field, f"it is {unit}, {'from' if end else 'at least'} {least}{end}", "")
        for field in ("cpuset_cpus", "cpuset_mems"):
            if not _is_set(getattr(self, field)):
                return Fault(field, "not a list of numbers and ranges", "such as 0-3,8")
        return None

    def narrowed(self, outer: Limits) -> Limits:
        """For a group within one of `outer`: cgroup v1 refuses a larger share of the processors than that has."""
        if self.cpu_quota is None or outer.cpu_quota is None:
            return self
        most = outer.cpu_quota * self.cpu_period // outer.cpu_period
        return msgspec.structs.replace(self, cpu_quota=min(self.cpu_quota, most))

    def files(self) -> tuple[Row, ...]:
        """Every limit set, for cgroup v2."""
        rows: list[Row] = []
        if self.memory is not None:
            rows.append(("memory", "memory.max", str(self.memory)))
        if self.memory_swap is not None:
            rows.append(("memory", "memory.swap.max", str(self.memory_swap)))
        if self.cpu_quota is not None:
            rows.append(("cpu", "cpu.max", f"{self.cpu_quota} {self.cpu_period}"))
        if self.cpu_weight is not None:
            rows.append(("cpu", "cpu.weight", str(self.cpu_weight)))
        return (*rows, *self._shared())

    def files_v1(self) -> tuple[Row, ...]:
        """The same for cgroup v1, in the order in which the kernel takes them (the inverse of OCI's conversions)."""
        rows: list[Row] = []
        if self.memory is not None:
            rows.append(("memory", "memory.limit_in_bytes", str(self.memory)))
            if self.memory_swap is not None:
                rows.append(("memory", "memory.memsw.limit_in_bytes", str(self.memory + self.memory_swap)))
        if self.cpu_quota is not None:
            rows.append(("cpu", "cpu.cfs_period_us", str(self.cpu_period)))
            rows.append(("cpu", "cpu.cfs_quota_us", str(self.cpu_quota)))
        if self.cpu_weight is not None:
            rows.append(("cpu", "cpu.shares", str(2 + (self.cpu_weight - 1) * 262_142 // 9999)))
        return (*rows, *self._shared())

    def _shared(self) -> Iterator[Row]:
        if self.cpuset_cpus:
            yield ("cpuset", "cpuset.cpus", self.cpuset_cpus)
        if self.cpuset_mems:
            yield ("cpuset", "cpuset.mems", self.cpuset_mems)
        if self.pids is not None:
            yield ("pids", "pids.max", str(self.pids))


def _is_set(text: str) -> bool:
    """Numbers and ranges, as the kernel takes them: nothing else reaches its files."""
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            return False
    return True
