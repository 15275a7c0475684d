"""Resource limits of a step or a build as values, and the files of cgroup v2 and v1 they are written to.

Pure: they are part of what a build asks for, also where no group can be made.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

Row = tuple[str, str, str]
"""Controller, file, value."""


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
